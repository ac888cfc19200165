"""`python -m proofs.tools`: installation to bundle on two nodes, then each verb on 200 nodes.

Written to build/tools.json. Names of parts, such as `traced` or `many`, choose some. `--slice`:
what CI runs. `--chart`: the Helm chart, build/chart.json. `--record`: the slice, and before it the
recording for the unit tests.
"""

import os
import sys
import threading
from collections.abc import Sequence

from proofs.drift.carrying import heed_signals
from proofs.tools import archives, chart, faults, many, record, verbs
from proofs.tools.operator import Operator, Part
from proofs.tools.report import Ended, Report
from testbed import deploy, layout
from testbed.bed import Bed
from testbed.workloads import Cluster, subnet, web_deployment

PARTS: Sequence[Part] = (
    *(verbs.shown, verbs.typed, verbs.followed, verbs.planned, verbs.examined),
    *(archives.collected, verbs.lean, verbs.compared),
    *(faults.traced, archives.hung, verbs.rights_used),
)
# Each kind of evidence once: tables, a plan, planted faults, planted secrets, a trace.
SLICE: Sequence[Part] = (
    *(verbs.shown, verbs.planned, verbs.examined, archives.collected, faults.some_traced),
)


def main() -> None:
    """Run everything on a bed of its own, after removing one that a killed run left."""
    heed_signals()
    name = os.environ.get("OVNLET_TOOLS_BED", "tools")
    if Bed.is_alive(name):
        Bed.attach(name).down()
    flags = {word for word in sys.argv[1:] if word.startswith("-")}
    if "--chart" in flags:
        chart.run(name)
        return
    names = set(sys.argv[1:]) - flags
    parts = [part for part in PARTS if not names or part.__name__ in names]
    report = Report(2)
    if flags & {"--slice", "--record"}:
        parts = list(SLICE)
    if parts:
        two_nodes(name, report, parts, recorded="--record" in flags)
    if not names or "many" in names:
        with Bed.up(name, parts={layout.ETCD, layout.APISERVER}) as bed, report.apart():
            many.run(bed, report, many.FEW if "--slice" in flags else many.NODES)
    if report.failed:
        raise SystemExit(f"not ok: {'; '.join(report.failed)}")


def two_nodes(name: str, report: Report, parts: Sequence[Part], *, recorded: bool) -> None:
    """Install on two nodes and run the rows of some parts."""
    with Bed.up(name, nodes=2, parts=layout.STANDALONE) as bed:
        ask = Operator.of(bed)
        installed(ask, report)
        Cluster(bed).make_subnet(subnet("ovn-default", layout.PODS, default=True))
        if recorded:
            record.run(ask)
        run(ask, report, parts)


def run(ask: Operator, report: Report, parts: Sequence[Part]) -> None:
    """Run the rows of some parts, each part whether or not others fail."""
    cluster = Cluster(ask.bed)
    cluster.apply(web_deployment("many", verbs.PODS - 4), web_deployment("few", 4))
    pods = cluster.running(verbs.PODS, timeout=180)
    for part in parts:
        with report.apart():
            part(ask, report, pods)


def installed(ask: Operator, report: Report) -> None:
    """Install while `status --wait` waits: it must not end before all nodes are Ready."""
    with report.row("status --wait, from nothing to ready") as row:
        early = ask("status")
        assert (early.code, early.stdout) == (1, b""), early
        ended: list[Ended] = []
        words = ("status", "--wait", "--wait-duration", "5m")
        waiter = threading.Thread(target=lambda: ended.append(ask(*words, timeout=320)))
        waiter.start()
        deploy.apply(ask.bed)
        waiter.join(timeout=310)
        assert ended, "it still waits"
        row.took(ended[0])
        assert ended[0].code == 0, ended
        assert ended[0].text.startswith("agents\t2 of 2 nodes ready"), ended
        assert deploy.all_ready(ask.bed)
        row.record(early.stderr.strip(), *ended[0].text.splitlines())


if __name__ == "__main__":
    main()
