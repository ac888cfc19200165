"""`python -m proofs.tools`: installation to bundle on two nodes, written to build/tools.json.

Names of parts, such as `traced`, choose some. `--chart`: the Helm chart, build/chart.json.
`--many`: each verb on 200 nodes of one fake kubelet, build/tools-200.json.
"""

import os
import sys
import threading
from collections.abc import Collection

from proofs.tools import chart, faults, many, verbs
from proofs.tools.operator import Ended, Operator
from proofs.tools.report import Report
from testbed import deploy, layout
from testbed.bed import Bed
from testbed.workloads import Cluster, subnet, web_deployment

PARTS = (
    *(verbs.shown, verbs.typed, verbs.followed, verbs.planned, verbs.examined),
    *(verbs.collected, verbs.lean, verbs.compared, faults.traced, verbs.hung, verbs.rights_used),
)


def main() -> None:
    """Run everything on a bed of its own, after removing one that a killed run left."""
    name = os.environ.get("OVNLET_TOOLS_BED", "tools")
    if Bed.is_alive(name):
        Bed.attach(name).down()
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    if "--many" in sys.argv:
        with Bed.up(name, parts={layout.ETCD, layout.APISERVER}) as bed:
            return many.run(bed)
    alone = "--chart" in sys.argv
    with Bed.up(name, nodes=1 if alone else 2, parts=layout.STANDALONE) as bed:
        return chart.run(bed) if alone else run(bed, chosen)


def run(bed: Bed, chosen: Collection[str] = ()) -> None:
    """Run all rows, or those of some parts. Raise at the first that fails."""
    report, ask = Report(len(bed.nodes)), Operator.of(bed)
    installed(ask, report)
    cluster = Cluster(bed)
    cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True))
    cluster.apply(web_deployment("many", verbs.PODS - 4), web_deployment("few", 4))
    pods = cluster.running(verbs.PODS, timeout=120)
    for part in PARTS:
        if not chosen or part.__name__ in chosen:
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
        waiter.join(timeout=60)
        assert ended, "it still waits"
        row.took(ended[0])
        assert ended[0].code == 0, ended
        row.record(early.stderr.strip(), *ended[0].text.splitlines())


if __name__ == "__main__":
    main()
