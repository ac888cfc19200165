"""No annotation makes the agent write outside the pod's own network, or use much memory."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import hostile, hostile_values, pods
from kit.pods import ATTACHMENT, Text, key
from ovnlet.agent.event_log import EventLog, Tail
from ovnlet.core import annotations, desired
from ovnlet.core.allocation import Allocation
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.identity import Node
from ovnlet.core.plan import diff
from ovnlet.core.resources import ABSENT, Address, Network, Port, Resource, Route, Sysctl, Veth
from ovnlet.core.settled_annotations import settle, usable

# Fewer than 32 addresses, connected routes, settings and limits; then the routes allowed.
MAX_RESOURCES = 32 + 256
MAX_CHARACTERS = 4096


def _read(text: Text) -> Iterator[Allocation]:
    """Yield what a running pod gets by an edit, which always works, and what a new one gets."""
    yield settle(usable(None, hostile.GOOD, "ovn", "eth0"), text, "ovn", "eth0")
    try:
        yield settle(None, text, "ovn", "eth0")
    except (Invalid, NotReady) as error:
        _check_message(error)


def _check_message(message: Exception | str) -> None:
    """Check that a text is fit for a log line, an Event and a terminal."""
    assert str(message).isprintable()
    assert len(str(message)) < MAX_CHARACTERS


@pytest.mark.uncovered
@pytest.mark.parametrize(
    "many", [300, pytest.param(30_000, marks=[pytest.mark.long, pytest.mark.timeout(1500)])]
)
def test_each_step_is_within_the_pods_own_network(many: int) -> None:
    @settings(max_examples=many, derandomize=many == 300)
    @given(hostile.annotated(), pods.nodes())
    def each(text: Text, node: Node) -> None:
        before = pods.network(hostile.GOOD, node)
        for allocation in _read(text):
            for message in (*map(str, allocation.problems), *allocation.notices):
                _check_message(message)
            network = desired.network(ATTACHMENT, allocation, node)
            assert len(network) <= MAX_RESOURCES
            for plan in (diff(network, ABSENT), diff(network, before), diff(ABSENT, network)):
                assert not [
                    (step, foreign)
                    for step in plan
                    if (foreign := hostile.foreign_parts(step.resource))
                ]

    each()


@pytest.mark.parametrize(
    "good", [None, usable(None, hostile.GOOD, "ovn", "eth0")], ids=["new", "running"]
)
@given(hostile.annotated())
def test_the_next_pass_changes_nothing(good: Text | None, text: Text) -> None:
    """One wrong value affects no other one: the kept text gives the same network as the edit."""
    try:
        first = settle(good, text, "ovn", "eth0")
    except (Invalid, NotReady):
        return
    kept = usable(good, text, "ovn", "eth0")
    again = settle(kept, text, "ovn", "eth0")
    assert diff(_network(again), _network(first)) == ()


def _network(allocation: Allocation) -> Network:
    return desired.network(ATTACHMENT, allocation, hostile.NODE)


def _planted() -> Iterator[Resource]:
    """Yield resources as if an annotation had leaked into them."""
    network: Network = pods.network(hostile.GOOD, hostile.NODE)
    (veth,) = [thing for thing in network if isinstance(thing, Veth)]
    (port,) = [thing for thing in network if isinstance(thing, Port)]
    yield replace(veth, host="br-int")
    yield replace(veth, pod="../x")
    yield replace(veth, alias="\x1b[2J")
    yield replace(port, name="ovn0")
    yield replace(port, external_ids=port.external_ids | {("logical_switch", "$(reboot)")})
    yield replace(port, external_ids=port.external_ids | {("ip", "10.16.0.5/../..")})
    yield Sysctl(veth.key, "ipv4/ip_forward", "0")
    yield Sysctl(veth.key, "ipv6/conf/eth0/disable_ipv6", "-1")
    yield Address(("veth", "another_h", "eth0"), "eth0", ip_interface("10.16.0.5/16"))
    yield Route(veth.key, "eth1", ip_network("192.0.2.0/24"), None, None)


@pytest.mark.parametrize("thing", [*_planted()], ids=str)
def test_a_leak_would_be_found(thing: Resource) -> None:
    assert hostile.foreign_parts(thing)


@given(st.dictionaries(st.sampled_from(hostile_values.FOREIGN_KEYS), hostile.TEXTS, max_size=4))
def test_a_key_that_is_not_ours_changes_nothing(other: Text) -> None:
    assert annotations.parse(hostile.GOOD | other, "ovn", "eth0") == annotations.parse(
        hostile.GOOD, "ovn", "eth0"
    )


def test_long_text_is_read_and_not_remembered() -> None:
    """Else the author of one pod fills the agent's memory by editing it again and again."""
    before = len(annotations._CACHE)
    for number in range(50):
        routes = f'[{{"dst":"198.51.100.{number}/32","gw":"10.16.0.1"}}{" " * 20_000}]'
        assert annotations.parse(hostile.GOOD | {key("routes"): routes}, "ovn", "eth0").routes
    assert len(annotations._CACHE) == before


@pytest.mark.parametrize(
    "value", ["10.16.0.5/\x1b[2J", "10.16.0.5,\x1cfd00::5", "10.16.0.5/99", "10.16.0.5\n,fd00::5"]
)
def test_an_address_that_would_command_a_terminal_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="ip_address"):
        annotations.parse(hostile.GOOD | {key("ip_address"): value}, "ovn", "eth0")


def test_the_messages_of_an_edit_do_not_fill_the_memory() -> None:
    events, tail = EventLog(), Tail()
    events.record("shop", "web-0", "Normal", "NetworkUpdated", "x" * 100_000)
    tail.emit(logging.LogRecord("reconcile", logging.INFO, __file__, 1, "x" * 100_000, None, None))
    assert all(len(line) < MAX_CHARACTERS + 500 for line in (*events._entries, *tail.lines))


@pytest.mark.parametrize(
    ("prefix", "gateway", "good"),
    [
        ("10.16.0.0/16", "10.16.255.255", False),
        ("10.16.0.4/30", "10.16.0.7", False),
        ("10.16.0.4/31", "10.16.0.4", True),
        ("10.16.0.0/16", "10.16.255.254", True),
    ],
)
def test_a_broadcast_address_is_no_gateway(prefix: str, gateway: str, good: bool) -> None:
    """The kernel refuses it, which would count as a node fault: "Nexthop has invalid gateway"."""
    text = hostile.GOOD | {key("cidr"): f"{prefix},fd00::/64", key("gateway"): gateway}
    assert [problem.key for problem in annotations.parse(text, "ovn", "eth0").problems] == (
        [] if good else [key("gateway")]
    )
