"""The MTU that the tunnel leaves to pods: read again, by encapsulation, never guessed silently."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_interface

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core import desired
from ovnlet.core.allocation import Allocation
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Node
from ovnlet.core.resources import Address, Port, Route, Veth
from ovnlet.core.tunnel import overhead
from ovnlet.drivers.node_state import UNKNOWN, NodeState
from unit.test_node_scope import TEXT, Host, nic

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
OVN = "ovn.kubernetes.io"


@dataclass
class Rows:
    """The rows of Open_vSwitch that matter."""

    chassis: dict[str, str] = field(default_factory=lambda: {"ovn-encap-ip": "192.0.2.1"})
    bridge: str = "br-int"
    userspace: bool = False


class Setup:
    """A node whose links and time the test sets."""

    def __init__(self) -> None:
        self.rows, self.now = Rows(), 0.0
        self.links: dict[str, int] = {"192.0.2.1": 1500, "2001:db8::1": 1500}
        self.asked = 0
        self.state = NodeState(
            self.rows,  # type: ignore[arg-type]
            0,
            mtu_of=self._mtu_of,
            now=lambda: self.now,
        )

    def facts(self) -> Node:
        return self.state.facts

    def _mtu_of(self, address: IPv4Address | IPv6Address) -> int | None:
        self.asked += 1
        return self.links.get(str(address))


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_l10_another_mtu_of_the_tunnels_link_is_followed(setup: Setup) -> None:
    """L10: it was read once and kept for ever."""
    assert [setup.facts().mtu for _ in range(100)] == [1400] * 100
    assert setup.asked == 1, "each pass asked the kernel"
    setup.links["192.0.2.1"] = 9000
    setup.now += 60
    assert setup.facts().mtu == 8900


def test_l10_an_address_on_no_link_is_unknown_and_told(setup: Setup) -> None:
    """L10: it counted as a link of 1500 bytes, without a word, and for ever."""
    del setup.links["192.0.2.1"]
    unknown = setup.facts()
    assert "192.0.2.1 is on no link" in unknown.mtu_unknown
    assert unknown.mtu == UNKNOWN
    setup.links["192.0.2.1"] = 9000
    setup.now += 2
    assert (setup.facts().mtu, setup.facts().mtu_unknown) == (8900, "")
    del setup.links["192.0.2.1"]
    setup.now += 60
    lost = setup.facts()
    assert lost.mtu == 8900, "running pods keep what is known"
    assert lost.mtu_unknown
    setup.rows.chassis = {"ovn-encap-ip": "nonsense"}
    assert "nonsense" in setup.facts().mtu_unknown
    assert setup.facts().mtu == 8900


def test_l10_without_a_tunnel_nothing_is_unknown(setup: Setup) -> None:
    """L10: a node that has no tunnel address yet is the doctor's to report."""
    setup.rows.chassis = {}
    assert (setup.facts().mtu, setup.facts().mtu_unknown) == (UNKNOWN, "")


@pytest.mark.parametrize(
    ("kind", "address", "taken"),
    [
        ("geneve", "192.0.2.1", 100),
        ("", "192.0.2.1", 100),
        ("vxlan", "192.0.2.1", 50),
        ("stt", "192.0.2.1", 72),
        ("vxlan,geneve", "192.0.2.1", 100),
        ("nonsense", "192.0.2.1", 100),
        ("geneve", "2001:db8::1", 120),
        ("vxlan", "2001:db8::1", 70),
        ("stt", "2001:db8::1", 92),
    ],
)
def test_l10_the_encapsulation_is_asked_for(
    setup: Setup, kind: str, address: str, taken: int
) -> None:
    """L10: 100 bytes were taken off whatever `ovn-encap-type` was. The figures are Kube-OVN's."""
    setup.rows.chassis = {"ovn-encap-ip": address, "ovn-encap-type": kind}
    assert setup.facts().mtu == 1500 - taken
    assert overhead(kind, 4) + (20 if ":" in address else 0) == taken


DUAL = Allocation(
    (ip_interface("10.16.0.5/16"), ip_interface("fd00::5/64")),
    "00:00:00:53:00:01",
    "s",
    tuple(ip_interface(each).ip for each in ("10.16.0.1", "fd00::1")),
    default_route=True,
)


async def test_l10_below_1280_bytes_a_pod_has_no_ipv6_and_it_is_told() -> None:
    """L10: the kernel refused the address, and nothing said why."""
    world = World()
    world.host.node = Node("br-int", 1200, userspace=False)
    text = {
        "ip_address": "10.16.0.5,fd00::5",
        "cidr": "10.16.0.0/16,fd00::/64",
        "gateway": "10.16.0.1,fd00::1",
    }
    world.tell(pod({**COMPLETE, **{f"{OVN}/{name}": value for name, value in text.items()}}))
    outcome = await world.attaching.add(world.attachment())
    found = outcome.observed
    assert [str(each.ip) for each in found if isinstance(each, Address)] == ["10.16.0.5/16"]
    assert all(each.destination.version == 4 for each in found if isinstance(each, Route))
    (port,) = [each for each in found if isinstance(each, Port)]
    assert port.ids["ip"] == "10.16.0.5,fd00::5"
    (notice,) = outcome.notices
    assert notice.reason == "Ipv6NotPossible"
    assert "1200" in notice.text
    assert "1280" in notice.text


def test_l10_only_what_needs_ipv6_needs_1280_bytes() -> None:
    """L10: a pod of IPv6 alone waits with words; one with an MTU of its Subnet's has IPv6."""
    attachment = World().attachment()
    small = Node("br-int", 1200, userspace=False)
    single = replace(DUAL, addresses=DUAL.addresses[1:], gateways=DUAL.gateways[1:])
    with pytest.raises(NotReady, match=r"1200.*1280"):
        desired.network(attachment, single, small)
    network = desired.network(attachment, replace(DUAL, mtu=1280), small)
    assert len([each for each in network if isinstance(each, Address)]) == 2
    assert {each.mtu for each in network if isinstance(each, Veth)} == {1280}


async def test_l10_the_node_is_told_of_an_unknown_mtu_and_of_one_without_ipv6() -> None:
    """L10: both are Events on the Node."""
    node = Node("br-int", 1200, userspace=False, mtu_unknown="ovn-encap-ip 192.0.2.1 is on no link")
    own = nic(Host(node))
    own.put(TEXT)
    outcome = await own.reconcile()
    assert outcome is not None
    assert [notice.reason for notice in outcome.notices] == ["TunnelMtuUnknown", "Ipv6NotPossible"]
    assert "192.0.2.1 is on no link" in outcome.notices[0].text
    found = {each.ip.version for each in outcome.observed if isinstance(each, Address)}
    assert found == {4}
