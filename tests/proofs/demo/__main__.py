"""`python -m proofs.demo`: run all steps; print a table and write `build/demo.json` at the end.

With `--picture`, draw the terminal's end for docs/tutorials/five-minutes.md.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

from proofs.demo import services, steps
from proofs.demo.breakage import repair_breaks
from proofs.demo.report import Report, Step
from testbed import clean, deploy, images, kubernetes, layout, packages, versions
from testbed.bed import Bed
from testbed.inventory import Inventory, compare, inventory
from testbed.machine import machine
from testbed.node import Node
from testbed.workloads import Cluster

PICTURE = deploy.PROJECT / "docs/tutorials/demo.svg"
BED = os.environ.get("OVNLET_DEMO_BED", "demo")


def main() -> int:
    """Run the demo. Return 0 if every step succeeded, else 1."""
    report = Report()
    began = time.monotonic()
    try:
        with report.step("install packages, build Kubernetes and the images (cached)") as step:
            packages.ensure()
            step.record(
                f"Kubernetes: {kubernetes.assets()}",
                *versions.software(),
                *(f"image: {path.name}" for path in images.archives()),
            )
            step.record(f"image: {images.agent_image(deploy.PROJECT)[0]}")
        baseline = machine(BED)
        try:
            _run_on_two_nodes(report)
        finally:
            clean.remove(BED)
        with report.step("the machine is as it was before") as step:
            _verify_same(step, lambda: compare(baseline, machine(BED)))
    except Exception:  # noqa: BLE001 - the table shows which step failed
        report.console.print(traceback.format_exc(), markup=False, highlight=False, emoji=False)
    wanted = PICTURE if "--picture" in sys.argv[1:] else None
    good = report.finish("; ".join(versions.software()), wanted)
    report.console.print(
        f"{'all steps' if good else 'NOT all steps'} succeeded, in {time.monotonic() - began:.0f} s"
    )
    return 0 if good else 1


def _run_on_two_nodes(report: Report) -> None:
    with report.step(
        "bring up two nodes: etcd, API server, kubelet, containerd, OVS; OVN over TLS"
    ) as step:
        bed = Bed.up(BED, nodes=2, parts=layout.STANDALONE)
        step.record(bed.kubectl("get", "nodes", "-o", "wide"))
    cluster = Cluster(bed)
    steps.install(report, bed)
    steps.make_subnet(report, cluster)
    steps.first_pods(report, cluster)
    baselines = [inventory(node) for node in bed.nodes]
    pods = steps.start(report, cluster)
    steps.reach_each_other(report, cluster, pods)
    services.by_name(report, cluster)
    steps.edit(report, cluster, pods)
    repair_breaks(report, cluster, pods)
    with report.step("delete the pods: both nodes are as they were before them") as step:
        cluster.clear()
        for node, baseline in zip(bed.nodes, baselines, strict=True):
            _verify_same(step, partial(_differences, baseline, node))
    steps.delete_subnet(report, cluster)
    steps.who_wrote(report, bed)


def _differences(baseline: Inventory, node: Node) -> list[str]:
    return compare(baseline, inventory(node))


def _verify_same(step: Step, differences: Callable[[], list[str]]) -> None:
    """Record that there are no differences after up to 30 s, or fail the step.

    kubelet takes some time to unmount and forget a pod.
    """
    end = time.monotonic() + 30
    while (left := differences()) and time.monotonic() < end:
        time.sleep(0.5)
    step.check(not left, "left behind: " + "; ".join(left))
    step.record("no difference")


if __name__ == "__main__":
    sys.exit(main())
