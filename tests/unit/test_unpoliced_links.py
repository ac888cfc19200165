"""A link on which ovs-vswitchd makes no filter: a matter of that link, and not for ever."""

from dataclasses import replace
from typing import Any

import pytest

from kit.pods import ATTACHMENT
from ovnlet.core import desired
from ovnlet.core.allocation import Allocation, Interface
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Node
from ovnlet.core.plan import Step, Verb
from ovnlet.core.qos import Limit, Qos
from ovnlet.core.resources import ABSENT, Network, PoliceFilter
from ovnlet.core.shaping import unenforced
from ovnlet.drivers import host as host_module
from ovnlet.drivers.host import PortHost
from ovnlet.drivers.node_state import NodeState

pytestmark = pytest.mark.review2
OTHER = replace(ATTACHMENT, container_id="f00d" * 16, host_link="", iface_id="")
QOS = Qos(egress=Limit(5_000_000, None))


class Switch:
    """An Open vSwitch that takes rows and makes no filter; ``vanishes`` says what its links do."""

    bridge, userspace, chassis = "br-int", False, {"ovn-encap-ip": ""}

    def __init__(self) -> None:
        self.index, self.vanishes = 7, False
        self.reapply = self

    async def caught_up(self) -> None:
        return

    async def filter(self, _: str) -> None:
        self.index = 0 if self.vanishes else self.index


class Links:
    """Links without a kernel."""

    def observe(self, *_: Any) -> Network:
        return ABSENT

    async def apply(self, *_: Any) -> None:
        return


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    switch = Switch()
    monkeypatch.setattr(host_module, "is_in_force", lambda _: False)
    monkeypatch.setattr(host_module, "index_of", lambda _: switch.index)
    return switch


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def state(switch: Switch, time: Time) -> NodeState:
    return NodeState(switch, 1400, now=time)  # type: ignore[arg-type]


async def police(switch: Switch, state: NodeState) -> None:
    policer = PoliceFilter((), ATTACHMENT.host_link, 5_000_000)
    host = PortHost(Links(), switch, state)  # type: ignore[arg-type]
    with pytest.raises(NotReady, match=ATTACHMENT.host_link):
        await host.apply(ATTACHMENT, (Step(Verb.ENSURE, policer),))


def policed(state: NodeState, attachment: Any) -> bool:
    node = replace(state.facts, lacks=frozenset())
    allocation = Allocation(_ADDRESS, "00:00:00:53:00:01", "s", (), default_route=True, qos=QOS)
    network = desired.network(attachment, allocation, node)
    return any(isinstance(each, PoliceFilter) for each in network)


_ADDRESS: tuple[Interface, ...] = ()


async def test_l16_a_link_that_vanishes_in_the_middle_says_nothing(switch: Switch) -> None:
    """L16: it made policing `unsupported` on the whole node until a restart."""
    found = state(switch, Time())
    switch.vanishes = True
    await police(switch, found)
    assert policed(found, ATTACHMENT)
    assert policed(found, OTHER)


async def test_l16_a_link_without_a_filter_is_left_out_alone_and_tried_again(
    switch: Switch,
) -> None:
    """L16: one link decided for all, and for ever."""
    time = Time()
    found = state(switch, time)
    await police(switch, found)
    assert not policed(found, ATTACHMENT)
    assert policed(found, OTHER)
    time.now += 3600
    assert policed(found, ATTACHMENT)


def test_l16_what_is_not_enforced_is_told_of_the_link_alone() -> None:
    """L16: the shaper in the pod does it, unless the kernel has none."""
    node = Node("br-int", 1400, False, frozenset({"tbf"}), unpoliced=frozenset({"a_h"}))
    assert list(unenforced(QOS, node, "a_h"))
    assert not list(unenforced(QOS, node, "b_h"))
