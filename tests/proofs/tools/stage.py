"""Two nodes on which ovnlet is installed, with pods; and an API server for many that are not there.

`proofs.tools` and the floor `tools` of `make test` use the same ones.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from proofs.tools import archives, faults, verbs
from proofs.tools.operator import Operator, Part
from proofs.tools.report import Ended, Report
from testbed import deploy, layout
from testbed.bed import Bed
from testbed.workloads import Cluster, Running, subnet, web_deployment

# Each kind of evidence once: tables, a plan, planted faults, foreign libraries, planted secrets, a
# trace.
SLICE: Sequence[Part] = (
    *(verbs.shown, verbs.planned, verbs.examined, verbs.compared),
    *(archives.collected, faults.some_traced),
)


@contextmanager
def installed(name: str, report: Report) -> Iterator[Operator]:
    """Give two nodes, with a Subnet, once `status --wait` has seen the installation."""
    with Bed.up(name, nodes=2, parts=layout.STANDALONE) as bed:
        ask = Operator.of(bed)
        _install(ask, report)
        Cluster(bed).make_subnet(subnet("ovn-default", layout.PODS, default=True))
        yield ask


def _install(ask: Operator, report: Report) -> None:
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


def pods(ask: Operator) -> list[Running]:
    """Start pods on both nodes, and return them once they run."""
    cluster = Cluster(ask.bed)
    cluster.apply(web_deployment("many", verbs.PODS - 4), web_deployment("few", 4))
    return cluster.running(verbs.PODS, timeout=180)


def apiserver(name: str) -> AbstractContextManager[Bed]:
    """Give an API server without nodes, for `many`."""
    return Bed.up(name, parts={layout.ETCD, layout.APISERVER})
