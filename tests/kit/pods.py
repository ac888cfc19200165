"""Random pods: annotations as Kube-OVN's controller writes them, and the networks they describe."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from hypothesis import strategies as st

from ovnlet.core import annotations, desired
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.resources import Network

Interface = IPv4Interface | IPv6Interface
Text = dict[str, str]

ATTACHMENT = Attachment(
    container_id="c0ffee5b1e55" + "0" * 52,
    ifname="eth0",
    netns="/run/netns/cni-1",
    namespace="shop",
    pod="web-0",
    uid="5c1f8d5e-0000-4000-8000-000000000001",
    provider="ovn",
    boot_id="b007",
    sequence=1,
)

# Few values, so that addresses, gateways and destinations coincide; some prefixes contain others.
_SUBNETS = {
    4: ("10.16.0.5/16", "10.16.0.5/24", "10.16.0.5/32"),
    6: ("fd00::5/64", "fd00::5/112", "fd00::5/128"),
}
_GATEWAYS = {4: ("10.16.0.1", "10.16.0.2", "10.16.5.7"), 6: ("fd00::1", "fd00::2", "fd00::105")}
_DESTINATIONS = {
    4: ("0.0.0.0/0", "192.0.2.0/24", "10.0.0.0/8", "10.16.0.0/16", "10.16.5.0/24", "10.16.0.1/32"),
    6: ("::/0", "2001:db8::/32", "fd00::/8", "fd00::/64", "fd00::100/120", "fd00::1/128"),
}


def key(name: str) -> str:
    """Return the annotation key of a short name, for the default provider."""
    return annotations.key("ovn", name)


@st.composite
def routes(draw: st.DrawFn, families: tuple[int, ...]) -> str:
    """Draw a ``routes`` annotation: one entry per destination at most, some without ``dst``."""
    found = {}
    for _ in range(draw(st.integers(0, 3))):
        family = draw(st.sampled_from(families))
        destination = draw(st.sampled_from(_DESTINATIONS[family]))
        entry = {"dst": destination, "gw": draw(st.sampled_from(_GATEWAYS[family]))}
        if destination.endswith("/0") and draw(st.booleans()):
            del entry["dst"]
        found[destination] = entry
    return json.dumps(list(found.values()))


@st.composite
def fixed(draw: st.DrawFn) -> Text:
    """Draw the annotations that are fixed for a sandbox."""
    families = draw(st.sampled_from(((4,), (6,), (4, 6))))
    interfaces: list[Interface] = [
        ip_interface(draw(st.sampled_from(_SUBNETS[family]))) for family in families
    ]
    return {
        key("ip_address"): ",".join(str(interface.ip) for interface in interfaces),
        key("cidr"): ",".join(str(interface.network) for interface in interfaces),
        key("mac_address"): draw(st.sampled_from(("00:00:00:53:00:01", "0A:58:0A:10:00:05"))),
        key("logical_switch"): "blue",
        key("default_route"): draw(st.sampled_from(("", "true", "false"))),
        key("allocated"): "true",
        key("routed"): "true",
    }


def families(text: Text) -> tuple[int, ...]:
    """Return the IP version of each address, in order."""
    return tuple(6 if ":" in address else 4 for address in text[key("ip_address")].split(","))


@st.composite
def live(draw: st.DrawFn, text: Text, limited: bool = True) -> Text:
    """Draw the annotations that may change while the pod runs; with limits if ``limited``."""
    versions = families(text)
    gateways = [draw(st.sampled_from(_GATEWAYS[version])) for version in versions]
    routing = {key("gateway"): ",".join(gateways), key("routes"): draw(routes(versions))}
    return routing | draw(limits()) if limited else routing


_LIMITS = {
    "ingress_rate": ("0", "5", "20"),
    "ingress_burst": ("1",),
    "egress_rate": ("0", "5", "20"),
    "egress_burst": ("1",),
    "latency": ("10", "20"),
    "loss": ("0.5",),
}


@st.composite
def limits(draw: st.DrawFn) -> Text:
    """Draw the annotations of bandwidth limits; none for half of the pods."""
    names = (
        draw(st.lists(st.sampled_from(tuple(_LIMITS)), max_size=3)) if draw(st.booleans()) else []
    )
    return {key(name): draw(st.sampled_from(_LIMITS[name])) for name in names}


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Draw a node, with an MTU of at least 1280 bytes, which IPv6 needs."""
    lacks = draw(st.sampled_from(((), (), ("netem",), ("htb", "tbf"), ("police",))))
    return Node(
        "br-int", draw(st.sampled_from((1280, 1400, 9000))), draw(st.booleans()), frozenset(lacks)
    )


def network(text: Text, node: Node) -> Network:
    """Return the desired network of annotations, by the agent's own functions."""
    return desired.network(ATTACHMENT, annotations.parse(text, "ovn", ATTACHMENT.ifname), node)


@dataclass(frozen=True, slots=True)
class Edit:
    """The desired networks of one pod before and after an edit of its live annotations."""

    before: Network
    after: Network


@st.composite
def edits(draw: st.DrawFn, limited: bool = True) -> Edit:
    """Draw a pod and an edit; half of the pods are not edited."""
    text = draw(fixed())
    first = network(text | draw(live(text, limited)), draw(nodes()))
    if draw(st.booleans()):
        return Edit(first, first)
    return Edit(first, network(text | draw(live(text, limited)), draw(nodes())))
