"""Limits that a node cannot enforce, and rounded ones, are counted and reported once."""

from dataclasses import replace

from prometheus_client import generate_latest

from kit import memory, pods
from ovnlet.agent.metrics import Metrics
from ovnlet.core.resources import ABSENT
from ovnlet.reconcile.outcome import Notice, Outcome

LACKING = "ingress rate not enforced: this node's kernel has no sch_htb"


def test_each_is_reported_once() -> None:
    status = memory.Recorded()
    metrics = Metrics(status.states, lambda: status.count("RateNotEnforced"))
    network = pods.network(memory.COMPLETE, memory.MemoryHost().node)
    notices = (Notice("AnnotationRounded", "rounded"), Notice("RateNotEnforced", LACKING))
    outcome = Outcome(pods.ATTACHMENT, network, network, notices=notices)
    key = pods.ATTACHMENT.key
    for _ in range(2):
        status.settled(key, outcome)
    assert status.events == [
        ("Warning", "AnnotationRounded", "rounded"),
        ("Warning", "RateNotEnforced", LACKING),
    ]
    assert status.state(key) == ("attached", ["rounded", LACKING])
    assert b"ovnlet_limits_not_enforced 1.0" in generate_latest(metrics.registry)
    status.settled(key, replace(outcome, notices=()))
    assert b"ovnlet_limits_not_enforced 0.0" in generate_latest(metrics.registry)
    status.settled(key, outcome)
    assert len(status.events) == 4
    status.settled(key, replace(outcome, desired=ABSENT, notices=()))
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
    texts = {notice.reason: notice.text for notice in outcome.notices}
    assert texts["RateNotEnforced"].partition(" not")[0] == "latency, jitter, limit and loss"
    assert texts["AnnotationRounded"].rpartition(": ")[2] == "only whole kbit/s can be set"
