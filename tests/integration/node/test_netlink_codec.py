"""Our netlink encoders against pyroute2's, and our decoders against arbitrary bytes."""

import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from ovnlet.core.resources import CompetingRoute
from ovnlet.drivers.links import routes
from ovnlet.drivers.linux import rtnetlink, transport
from ovnlet.drivers.linux.transport import Garbled, Request, attributes, messages, refusal

# Bytes only: this file needs no namespace, and hypothesis runs it hundreds of times.
names = st.text(
    st.characters(codec="ascii", exclude_characters="/:\0", exclude_categories=("Zs", "Cc")),
    min_size=1,
)
aliases = st.lists(names, max_size=8).map(lambda words: " ".join(words)[:200])
links = names.map(lambda name: name[:15])
macs = st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":"))
mtus = st.integers(68, 65535)
indices = st.integers(1, 2**31 - 1)
flags = st.one_of(st.none(), st.booleans())
interfaces = st.one_of(
    st.builds(
        lambda ip, length: IPv4Interface((ip, length)), st.ip_addresses(v=4), st.integers(0, 32)
    ),
    st.builds(
        lambda ip, length: IPv6Interface((ip, length)), st.ip_addresses(v=6), st.integers(0, 128)
    ),
)


def _foreign(kind: type, request: Request) -> Any:
    message = kind(request.encode(7))
    message.decode()
    assert message["header"]["type"] == request.kind
    assert message["header"]["flags"] == request.flags | 1
    assert message["header"]["sequence_number"] == 7
    return message


def _ours(message: Any) -> bytes:
    """Encode the message with pyroute2, and return its body."""
    message.reset()
    message.encode()
    ((_, _, _, body),) = messages(bytes(message.data))
    return body


@settings(deadline=None)
@given(links, links, macs, mtus, indices)
def test_a_new_veth(host: str, pod: str, mac: str, mtu: int, netns: int) -> None:
    message = _foreign(ifinfmsg, rtnetlink.make_veth(host, pod, mac, mtu, netns))
    assert (message.get("ifname"), message.get("mtu")) == (host, mtu)
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    names = ("IFLA_IFNAME", "IFLA_ADDRESS", "IFLA_MTU", "IFLA_NET_NS_FD")
    assert tuple(map(peer.get_attr, names)) == (pod, mac, mtu, netns)
    queues = ("IFLA_NUM_TX_QUEUES", "IFLA_NUM_RX_QUEUES")
    assert {end.get_attr(name) for end in (message, peer) for name in queues} == {1}


@settings(deadline=None)
@given(links, flags, st.none() | mtus, st.none() | macs, st.none() | aliases)
def test_a_changed_link(
    name: str, up: bool | None, mtu: int | None, mac: str | None, alias: str | None
) -> None:
    message = _foreign(ifinfmsg, rtnetlink.set_link(name, up=up, mtu=mtu, mac=mac, alias=alias))
    seen = map(message.get_attr, ("IFLA_IFNAME", "IFLA_MTU", "IFLA_ADDRESS", "IFLA_IFALIAS"))
    assert tuple(seen) == (name, mtu, mac, alias)
    assert (message["change"], message["flags"]) == (up is not None, up is True)


@settings(deadline=None)
@given(links, indices)
def test_questions_and_removals_of_links(name: str, index: int) -> None:
    assert _foreign(ifinfmsg, rtnetlink.get_link(index))["index"] == index
    for request in (
        rtnetlink.get_link(name),
        rtnetlink.delete_link(name),
        rtnetlink.no_link_local(name),
    ):
        message = _foreign(ifinfmsg, request)
        assert (message["index"], message.get_attr("IFLA_IFNAME")) == (0, name)
    assert (
        message.get_attr("IFLA_AF_SPEC").get_attr("AF_INET6").get_attr("IFLA_INET6_ADDR_GEN_MODE")
        == 1
    )


@settings(deadline=None)
@given(indices, interfaces, st.booleans())
def test_an_address_round_trips(index: int, ip: rtnetlink.Interface, noprefixroute: bool) -> None:
    message = _foreign(ifaddrmsg, rtnetlink.put_address(index, ip, noprefixroute))
    assert message["family"] == (socket.AF_INET if ip.version == 4 else socket.AF_INET6)
    assert (message["index"], message["prefixlen"]) == (index, ip.network.prefixlen)
    assert message.get_attr("IFA_ADDRESS") == str(
        IPv6Address(ip.packed) if ip.version == 6 else ip.ip
    )
    assert message.get_attr("IFA_FLAGS") == (0x202 if noprefixroute else 0x02)
    assert (message.get_attr("IFA_PROTO"), message.get_attr("IFA_BROADCAST")) == (157, None)
    ours = rtnetlink.address(_ours(message))
    assert (ours.link, ours.ip, ours.protocol) == (index, ip, 157)
    assert bool(ours.flags & rtnetlink.NOPREFIXROUTE) is noprefixroute


@settings(deadline=None)
@given(indices, interfaces, st.booleans(), st.booleans())
def test_a_route_round_trips(
    index: int, ip: rtnetlink.Interface, has_via: bool, has_source: bool
) -> None:
    via, source = (ip.network[0] if has_via else None), (ip.ip if has_source else None)
    message = _foreign(rtmsg, routes.add_route(index, ip.network, via, source))
    assert (message["table"], message["proto"], message["type"]) == (254, 157, 1)
    assert message["scope"] == (253 if via is None and ip.version == 4 else 0)
    assert message["dst_len"] == ip.network.prefixlen
    assert message.get_attr("RTA_OIF") == index
    for name, value in (("GATEWAY", via), ("PREFSRC", source), ("DST", ip.network.network_address)):
        assert message.get_attr(f"RTA_{name}") == (None if value is None else str(value))
    ours = routes.route(_ours(message))
    assert (ours.destination, ours.via, ours.source) == (ip.network, via, source)
    assert (ours.hops, ours.ours, ours.competes(index)) == (((index, via),), True, False)


@settings(deadline=None)
@given(indices, interfaces, st.integers(1, 3), st.integers(0, 255), st.integers(0, 512))
def test_a_competing_route_round_trips(
    index: int, ip: rtnetlink.Interface, hops: int, protocol: int, metric: int
) -> None:
    via = (
        tuple(ip.network[0] + number for number in range(hops))
        if ip.network[0].packed[0] < 255
        else (None,)
    )
    competing = CompetingRoute((), "eth0", ip.network, via, None, protocol, metric)
    message = _foreign(rtmsg, routes.delete_competing_route(index, competing))
    assert (message["table"], message["proto"], message["dst_len"]) == (
        254,
        protocol,
        ip.network.prefixlen,
    )
    assert message.get_attr("RTA_PRIORITY") == metric
    assert message.get_attr("RTA_OIF") == (index if len(via) == 1 else None)
    if len(via) > 1:
        hops_sent = [
            (hop["oif"], hop.get_attr("RTA_GATEWAY")) for hop in message.get_attr("RTA_MULTIPATH")
        ]
        assert hops_sent == [(index, str(each)) for each in via]
        seen = routes.route(_ours(message))
        assert (seen.hops, seen.metric, seen.protocol) == (
            tuple((index, each) for each in via),
            metric,
            protocol,
        )


@settings(deadline=None)
@given(
    st.builds(
        rtnetlink.Link,
        indices,
        links,
        st.just("veth"),
        macs,
        mtus,
        st.booleans(),
        st.booleans(),
        aliases,
        indices,
        st.none() | indices,
    )
)
def test_a_link_as_another_encodes_it(link: rtnetlink.Link) -> None:
    message = ifinfmsg()
    no_arp = 0 if link.arp else 0x80  # IFF_NOARP
    message["index"], message["flags"] = link.index, int(link.up) | no_arp
    message["attrs"] = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_ADDRESS", link.mac),
        ("IFLA_MTU", link.mtu),
        ("IFLA_IFALIAS", link.alias),
        ("IFLA_LINK", link.peer),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", link.kind)]}),
    ]
    if link.peer_nsid is not None:
        message["attrs"].append(("IFLA_LINK_NETNSID", link.peer_nsid))
    assert rtnetlink.link(_ours(message)) == link


DECODERS: dict[str, Callable[[bytes], object]] = {
    "link": rtnetlink.link,
    "address": rtnetlink.address,
    "route": routes.route,
    "nsid": rtnetlink.nsid,
    "attributes": attributes,
    "messages": lambda data: list(messages(data)),
    "error": lambda data: refusal(2, 0x300, data),
    "error with its request": lambda data: refusal(2, 0x200, data),
    "done": lambda data: refusal(3, 0x200, data),
}
# Random bytes rarely get past the first length: attributes of random types and sizes do.
bodies = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda head, attrs: (
            head + b"".join(transport.attribute(kind, payload) for kind, payload in attrs)
        ),
        st.sampled_from((16, 8, 12, 4)).flatmap(
            lambda size: st.binary(min_size=size, max_size=size)
        )
        | st.sampled_from((bytes([2]), bytes([10]))).map(
            lambda family: family + b"\x18" + bytes(10)
        ),
        st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=20))),
    ),
)


@pytest.mark.parametrize("decode", list(DECODERS.values()), ids=list(DECODERS))
@settings(max_examples=300, deadline=None)
@given(bodies)
@example(b"")
@example(b"\xff" * 64)
def test_any_bytes_are_decoded_or_garbled(decode: Callable[[bytes], object], body: bytes) -> None:
    with suppress(Garbled):
        decode(body)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(16, 90), st.binary(max_size=40)), max_size=20))
def test_messages_come_apart_as_they_were_put_together(parts: list[tuple[int, bytes]]) -> None:
    whole = b"".join(
        _padded(Request(kind, 4, body).encode(n)) for n, (kind, body) in enumerate(parts)
    )
    assert [(kind, number, body) for kind, _, number, body in messages(whole)] == [
        (kind, number, body) for number, (kind, body) in enumerate(parts)
    ]


def _padded(message: bytes) -> bytes:
    return message + bytes(-len(message) % 4)


def test_a_refusal_contains_the_kernels_message() -> None:
    words = transport.attribute(1, b"Device does not exist\0")
    error = refusal(2, 0x300, (-19).to_bytes(4, "little", signed=True) + bytes(16) + words)
    assert error is not None
    assert (error.errno, str(error)) == (19, "ENODEV: Device does not exist")
    assert refusal(2, 0, bytes(20)) is None


def test_a_namespace_without_an_id() -> None:
    assert rtnetlink.nsid(bytes(4) + transport.attribute(1, b"\xff" * 4)) == -1


def test_an_unmapped_address_stays_what_it_is() -> None:
    """::ffff:10.0.0.1 is IPv6; ipaddress must not make it IPv4."""
    ip = IPv6Interface("::ffff:10.0.0.1/128")
    ((_, _, _, body),) = messages(rtnetlink.put_address(1, ip, True).encode(1))
    assert rtnetlink.address(body).ip == ip
    assert isinstance(rtnetlink.address(body).ip.ip, IPv6Address)
    assert not isinstance(rtnetlink.address(body).ip.ip, IPv4Address)
    assert transport.ACK == 4


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.binary(max_size=20)), max_size=20))
def test_attributes_until_one(those: list[tuple[int, bytes]]) -> None:
    """What comes after the first of that type is not even looked at."""
    body = b"".join(transport.attribute(*each) for each in those)
    kinds = [kind for kind, _ in those]
    up_to = those[: kinds.index(3) + 1] if 3 in kinds else those
    assert attributes(body + (b"\xff" if 3 in kinds else b""), until=3) == dict(up_to)
