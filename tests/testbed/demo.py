"""`make demo`: the main job on a whole node, told step by step, with a table and `build/demo.json` at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from testbed import clean, deploy, images, kubernetes, packages, workloads
from testbed.bed import Bed
from testbed.inventory import compare, inventory
from testbed.machine import machine
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster, Running

BUILD = deploy.PROJECT / "build"
EVIDENCE = BUILD / "evidence" / "demo"
BED = "demo"
GATEWAYS = ("10.16.0.1", "fd00:10:16::1")


@dataclass(frozen=True, slots=True)
class Step:
    step: str
    seconds: float
    ok: bool
    evidence: str


@dataclass
class Demo:
    """Runs steps, keeps what each saw as a file, and goes on after none that failed."""

    console: Console = field(default_factory=Console)
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """The body appends what it saw; whatever it raises ends the demo."""
        self.console.print(f"[bold]{title}[/bold]")
        seen: list[str] = []
        began, ok = time.monotonic(), False
        try:
            yield seen
            ok = True
        except BedError as error:
            seen.append(str(error))
            raise
        finally:
            name = f"{len(self.steps) + 1:02d}.txt"
            (EVIDENCE / name).write_text("\n".join(seen) + "\n")
            self.steps.append(Step(title, round(time.monotonic() - began, 2), ok, f"build/evidence/demo/{name}"))
            for line in "\n".join(seen[:12]).splitlines()[:16]:
                self.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)

    def finish(self) -> int:
        table = Table("step", "seconds", "ok", "evidence", title="ovnlet demo")
        for step in self.steps:
            table.add_row(step.step, f"{step.seconds:.1f}", "yes" if step.ok else "NO", step.evidence)
        self.console.print(table)
        (BUILD / "demo.json").write_text(json.dumps([asdict(step) for step in self.steps], indent=1) + "\n")
        return 0 if all(step.ok for step in self.steps) else 1


def main() -> int:
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    demo = Demo()
    try:
        with demo.step("install packages, build Kubernetes and the images (cached)") as seen:
            packages.ensure()
            seen += [f"Kubernetes: {kubernetes.assets()}", *(f"image: {path.name}" for path in images.archives())]
        before = machine(BED)
        try:
            _on_a_bed(demo)
        finally:
            clean.remove(BED)
        with demo.step("the machine is as it was before") as seen:
            _same(seen, compare(before, machine(BED)))
    except BedError as error:
        demo.console.print(f"[red]stopped:[/red] {error}")
    return demo.finish()


def _on_a_bed(demo: Demo) -> None:
    with demo.step("bring up a node: etcd, API server, kubelet, containerd, OVS, OVN") as seen:
        bed = Bed.up(BED)
        seen.append(bed.kubectl("get", "--raw", "/version"))
    with demo.step("kubectl apply -k manifests: ovnlet as a DaemonSet, node Ready") as seen:
        seen.append(deploy.apply(bed))
        seen.append(bed.kubectl("get", "nodes,pods", "-A", "-o", "wide"))
    cluster = Cluster(bed)
    with demo.step("a first pod comes and goes: OVN and containerd keep what they set up with it") as seen:
        cluster.apply(workloads.pod("first"))
        seen += [f"{pod.name}  {'  '.join(pod.ips)}" for pod in cluster.running(1)]
        cluster.clear()
    before = inventory(bed.node())
    pods = _start(demo, cluster)
    _ping(demo, pods)
    _edit(demo, cluster, pods[0])
    _heal(demo, cluster, pods[1])
    with demo.step("delete the pods: the node's inventory is as before them") as seen:
        cluster.clear()
        _same(seen, wait_for_equal(lambda: compare(before, inventory(bed.node()))))


def _start(demo: Demo, cluster: Cluster) -> list[Running]:
    with demo.step("kubelet starts two Deployments through ovnlet") as seen:
        cluster.apply(workloads.deployment("red", 2), workloads.deployment("blue", 2))
        pods = cluster.running(4)
        seen += [f"{pod.name}  {'  '.join(pod.ips)}  port {pod.port}" for pod in pods]
        seen.append(cluster.bed.node().run(["ovs-vsctl", "show"]))
    return pods


def _ping(demo: Demo, pods: list[Running]) -> None:
    with demo.step("ping between pods and to the gateway, IPv4 and IPv6") as seen:
        here, *others = pods
        for address in [*(address for other in others for address in other.ips), *GATEWAYS]:
            text = here.inside("ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", address)
            seen.append(f"{address:<20} {text.strip().splitlines()[-1]}")


def _edit(demo: Demo, cluster: Cluster, pod: Running) -> None:
    with demo.step("kubectl annotate: a custom route, live") as seen:
        began = time.monotonic()
        cluster.annotate(pod.name, routes='[{"dst":"192.0.2.0/24","gw":"10.16.0.1"}]')
        returned = time.monotonic()

        def route() -> list[Any]:
            return [r for r in pod.ip("route") if r["dst"] == "192.0.2.0/24"]

        found = wait_for(route, "the custom route", timeout=10)
        seen += [
            f"kubectl took {returned - began:.2f} s; in force {time.monotonic() - returned:.3f} s later",
            str(found),
        ]


def _heal(demo: Demo, cluster: Cluster, pod: Running) -> None:
    node = cluster.bed.node()
    with demo.step("ovs-vsctl del-port on a running pod: ovnlet puts it back") as seen:
        ping = pod.ping(GATEWAYS[0])
        time.sleep(1)
        node.run(["ovs-vsctl", "del-port", "br-int", pod.port])
        began = time.monotonic()
        wait_for(lambda: pod.reaches(GATEWAYS[0]), "traffic after the port's deletion", timeout=20)
        seen.append(f"traffic again {time.monotonic() - began:.2f} s after ovs-vsctl returned")
        time.sleep(1)
        sent, received = ping.stop()
        seen.append(f"20 ms ping over all of it: {sent} sent, {received} received")
        told = wait_for(lambda: [e for e in cluster.events(pod.name) if e["reason"] == "NetworkRepaired"], "the Event")
        seen.append(told[0]["message"])
    with demo.step("ip addr flush inside a running pod: ovnlet puts all of it back") as seen:
        pod.inside("ip", "addr", "flush", "dev", "eth0")
        began = time.monotonic()
        wait_for(lambda: all(pod.reaches(gateway) for gateway in GATEWAYS), "traffic after the flush", timeout=20)
        seen.append(f"traffic again {time.monotonic() - began:.2f} s after ip returned")
        seen.append(pod.inside("ip", "-brief", "address", "show", "eth0"))


def wait_for_equal(look: Callable[[], list[str]]) -> list[str]:
    """The last difference that stays: kubelet takes its own time to unmount and forget a pod."""
    end = time.monotonic() + 30
    while (left := look()) and time.monotonic() < end:
        time.sleep(0.5)
    return left


def _same(seen: list[str], differences: list[str]) -> None:
    if differences:
        raise BedError("left behind: " + "; ".join(differences))
    seen.append("no difference")


if __name__ == "__main__":
    Path(BUILD).mkdir(exist_ok=True)
    sys.exit(main())
