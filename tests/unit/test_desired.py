"""Names that are derived from identities, and the desired network of a pod."""

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import pods
from kit.memory import COMPLETE
from ovnlet.core import annotations, desired, ids
from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.resources import Address, Network, Offload, Port, Route, Sysctl, Veth
from ovnlet.core.resources.ovs import MARK, OWNED_IDS

CONTAINER = "c0ffee5b1e55" + "0" * 52
_CONTAINERS = st.text("0123456789abcdef", min_size=64, max_size=64)
_IFNAMES = st.one_of(
    st.sampled_from(("eth0", "net1", "eth1", "a", "pod0123456789a")),
    st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=15).filter(
        lambda n: n not in (".", "..")
    ),
)
_LINK_NAME = frozenset(string.ascii_letters + string.digits + "._-")


@pytest.mark.parametrize(
    ("container_id", "ifname", "name"),
    [
        (CONTAINER, "eth0", "c0ffee5b1e55_h"),
        (CONTAINER, "net1", "c0ffee5b_net1_h"),
        (CONTAINER, "a", "c0ffee5b1e5_a_h"),
        ("abc", "eth0", "abc_h"),
    ],
)
def test_a_host_link_is_named_as_kube_ovn_names_it(
    container_id: str, ifname: str, name: str
) -> None:
    assert ids.host_link(container_id, ifname) == name


@given(_CONTAINERS, _IFNAMES)
def test_a_host_link_is_a_valid_name(container_id: str, ifname: str) -> None:
    name = ids.host_link(container_id, ifname)
    assert 0 < len(name) <= 15
    assert set(name) <= _LINK_NAME


@given(st.lists(st.tuples(_CONTAINERS, _IFNAMES), unique=True, min_size=2, max_size=20))
def test_two_attachments_never_share_a_name(keys: list[tuple[str, str]]) -> None:
    assert len({ids.host_link(*key) for key in keys}) == len(keys)


@given(_CONTAINERS, st.lists(_IFNAMES, unique=True, min_size=2, max_size=20))
def test_two_interfaces_of_a_sandbox_never_share_a_name(
    container_id: str, ifnames: list[str]
) -> None:
    assert len({ids.host_link(container_id, ifname) for ifname in ifnames}) == len(ifnames)


@given(_CONTAINERS, _IFNAMES)
def test_an_alias_fits_the_kernel_and_holds_the_mark(container_id: str, ifname: str) -> None:
    assert len(ids.alias(container_id, ifname).encode()) <= 255
    assert ids.alias(container_id, ifname).endswith(ids.mark(container_id, ifname))


def test_an_iface_id_has_the_provider_unless_it_is_the_default_one() -> None:
    assert ids.iface_id("shop", "web-0", "ovn") == "web-0.shop"
    assert ids.iface_id("shop", "web-0", "net1.shop.ovn") == "web-0.shop.net1.shop.ovn"


@st.composite
def _pods(draw: st.DrawFn) -> tuple[Allocation, Node]:
    text = draw(pods.fixed())
    return annotations.parse(text | draw(pods.live(text)), "ovn", "eth0"), draw(pods.nodes())


def _of_type(
    network: Network, type_: type[Address] | type[Route] | type[Sysctl] | type[Offload]
) -> list[object]:
    return [resource for resource in network if isinstance(resource, type_)]


@given(_pods())
def test_every_pod_has_a_network_whose_parts_lie_within_its_link(
    pair: tuple[Allocation, Node],
) -> None:
    allocation, node = pair
    network = desired.network(pods.ATTACHMENT, allocation, node)
    (veth,) = [resource for resource in network if isinstance(resource, Veth)]
    (port,) = [resource for resource in network if isinstance(resource, Port)]
    assert len({resource.key for resource in network}) == len(network)
    assert {resource.within for resource in network - {veth, port}} <= {veth.key, port.key}
    assert (veth.within, port.within) == (None, None)
    assert (veth.mtu, veth.mac, veth.pod) == (node.mtu, allocation.mac, "eth0")
    assert (port.name, port.bridge, port.orphaned) == (veth.host, node.bridge, False)


@given(_pods())
def test_the_datapath_decides_on_offload_and_ipv6_on_its_settings(
    pair: tuple[Allocation, Node],
) -> None:
    allocation, node = pair
    network = desired.network(pods.ATTACHMENT, allocation, node)
    assert len(_of_type(network, Offload)) == node.userspace
    assert bool(_of_type(network, Sysctl)) == any(
        address.version == 6 for address in allocation.addresses
    )


@given(_pods())
def test_every_route_has_a_source_and_every_gateway_a_connected_route(
    pair: tuple[Allocation, Node],
) -> None:
    allocation, node = pair
    network = desired.network(pods.ATTACHMENT, allocation, node)
    routes = [resource for resource in network if isinstance(resource, Route)]
    own = {address.ip for address in allocation.addresses}
    connected = [route.destination for route in routes if route.via is None]
    assert all(route.source in own for route in routes)
    assert all(any(route.via in each for each in connected) for route in routes if route.via)
    defaults = [route for route in routes if route.destination.prefixlen == 0]
    assert bool(defaults) == (allocation.default_route and bool(allocation.gateways))


@given(_pods(), st.sampled_from((None, "u-2")))
def test_a_port_has_our_labels_and_a_uid_only_if_one_was_given(
    pair: tuple[Allocation, Node], uid: str | None
) -> None:
    allocation, node = pair
    port = desired.port(replace(pods.ATTACHMENT, uid=uid), allocation, node, "x_h")
    assert set(port.ids) | {"iface-id-ver"} == OWNED_IDS
    assert port.ids.get("iface-id-ver") == uid
    assert port.ids[MARK] == f"{CONTAINER}/eth0"
    assert port.ids["iface-id"] == "web-0.shop"
    assert port.ids["ip"] == ",".join(str(address.ip) for address in allocation.addresses)


@given(_pods(), st.data())
def test_an_edit_of_live_annotations_changes_nothing_but_routes(
    pair: tuple[Allocation, Node], data: st.DataObject
) -> None:
    allocation, node = pair
    edited = replace(
        allocation, routes=data.draw(st.sampled_from(((), allocation.routes[:1]))), gateways=()
    )
    before, after = (desired.network(pods.ATTACHMENT, each, node) for each in (allocation, edited))
    assert all(isinstance(resource, Route) for resource in before ^ after)


def test_the_configurations_routes_come_after_the_pods_own_and_only_where_they_can_be_reached() -> (
    None
):
    own = {"ovn.kubernetes.io/routes": '[{"dst":"192.0.2.0/24","gw":"10.16.0.9"}]'}
    allocation = annotations.parse({**COMPLETE, **own}, "ovn", "eth0")
    configured = (
        ("192.0.2.0/24", "10.16.0.7"),
        ("198.51.100.0/24", "10.16.0.7"),
        ("203.0.113.0/24", "172.16.0.1"),
    )
    attachment = Attachment(
        CONTAINER, "eth0", "/run/netns/x", "default", "web", None, "ovn", "boot", 1, configured
    )
    made = desired.network(attachment, allocation, Node("br-int", 1400, True))
    routes = {str(r.destination): str(r.via) for r in made if isinstance(r, Route) and r.via}
    assert routes == {
        "0.0.0.0/0": "10.16.0.1",
        "192.0.2.0/24": "10.16.0.9",
        "198.51.100.0/24": "10.16.0.7",
    }
