"""What a node cannot enforce and what was rounded is told once, counted, and told again only when it is new."""

from dataclasses import replace

from prometheus_client import generate_latest

from kit import memory, pods
from ovnlet.agent.metrics import Metrics
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import ABSENT
from ovnlet.reconcile.loop import Outcome
from ovnlet.reconcile.status import Status

LACKING = "ingress rate not enforced: this node's kernel has no sch_htb"


def test_each_is_told_once() -> None:
    told: list[tuple[str, str, str]] = []

    def record(_: Attachment, kind: str, reason: str, message: str) -> None:
        told.append((kind, reason, message))

    status = Status(record)
    metrics = Metrics(status.states, status.unenforced)
    network = pods.network(memory.COMPLETE, memory.MemoryHost().node)
    outcome = Outcome(
        pods.ATTACHMENT, network, network, notices=("rounded",), unenforced=(LACKING,)
    )
    for _ in range(2):
        status(outcome)
    assert told == [
        ("Warning", "AnnotationRounded", "rounded"),
        ("Warning", "RateNotEnforced", LACKING),
    ]
    assert status.state(pods.ATTACHMENT.key) == ("attached", ["rounded", LACKING])
    assert b"ovnlet_limits_not_enforced 1.0" in generate_latest(metrics.registry)
    status(replace(outcome, unenforced=(), notices=()))
    assert b"ovnlet_limits_not_enforced 0.0" in generate_latest(metrics.registry)
    status(outcome)
    assert len(told) == 4
    status(replace(outcome, desired=ABSENT, unenforced=(), notices=()))
    assert b"ovnlet_limits_not_enforced 0.0" in generate_latest(metrics.registry)


async def test_a_node_that_lacks_a_kind_tells_of_it_with_the_add() -> None:
    world = memory.World()
    world.host.node = replace(world.host.node, lacks=frozenset({"netem"}))
    world.tell(
        memory.pod(
            memory.COMPLETE
            | {"ovn.kubernetes.io/latency": "10", "kubernetes.io/egress-bandwidth": "12345"}
        )
    )
    await world.attaching.add(world.attachment())
    (outcome,) = world.outcomes
    assert [text.partition(" not")[0] for text in outcome.unenforced] == [
        "latency, jitter, limit and loss"
    ]
    assert [text.rpartition(": ")[2] for text in outcome.notices] == [
        "only whole kbit/s can be set"
    ]
