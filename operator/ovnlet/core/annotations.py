"""Annotations, text to values: the only file that knows an annotation's name.

The contract is Kube-OVN's: keys are ``<provider>.kubernetes.io/<name>``, lists are comma separated
with IPv4 first.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_interface
from typing import TypeVar

from ovnlet.core import qos, routing, values
from ovnlet.core.allocation import Allocation, Destination, Interface
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.qos import Impairment, Limit, Qos
from ovnlet.core.reader import Reader
from ovnlet.core.settings import Repair

MIRROR_UID = "kubernetes.io/config.mirror"
# What the agent does about drift of this pod: NET_ADMIN pods change their routes on purpose.
REPAIR = "ovnlet.io/repair"
# Of a Node: the chassis that it is, for Kube-OVN's controller.
CHASSIS = "ovn.kubernetes.io/chassis"
_FIXED = ("ip_address", "cidr", "mac_address", "logical_switch", "default_route")
_ROUTING = ("gateway", "routes")
_QOS = (
    "ingress_rate",
    "ingress_burst",
    "egress_rate",
    "egress_burst",
    "latency",
    "jitter",
    "limit",
    "loss",
)
_READY = ("allocated", "routed")
_NODE = ("ip_address", "cidr", "mac_address", "gateway", "logical_switch", "port_name")
# Of the pod's Subnet, kept among its annotations: one memory of what was good. No annotation has such a name.
SUBNET_MTU, SUBNET_GATEWAY = "Subnet mtu", "Subnet gateway"
_SUBNET = (SUBNET_MTU, SUBNET_GATEWAY)
# Kubernetes' own, of the pod's first interface; the provider's `*_rate` comes before it.
_BANDWIDTH = {
    "ingress": "kubernetes.io/ingress-bandwidth",
    "egress": "kubernetes.io/egress-bandwidth",
}
_FIRST = "ovn"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# Characters of an attachment's annotations that are worth remembering what they mean: as many of a pod's are usual.
_REMEMBERED = 8192

_T = TypeVar("_T")


def key(provider: str, name: str) -> str:
    return f"{provider}.kubernetes.io/{name}"


def relevant(annotations: Mapping[str, str], provider: str) -> dict[str, str]:
    """The annotations that shape this attachment: what a record remembers."""
    return {name: annotations[name] for name in _relevant(provider) if name in annotations}


@lru_cache(maxsize=64)
def _relevant(provider: str) -> tuple[str, ...]:
    return (REPAIR, *_keys(provider, (*_FIXED, *_READY)), *_live(provider))


def of_node(annotations: Mapping[str, str]) -> dict[str, str]:
    """What of a Node's annotations shapes the node's own interface."""
    return {name: annotations[name] for name in _keys(_FIRST, _NODE) if name in annotations}


def switch(annotations: Mapping[str, str], provider: str) -> str:
    """The Subnet by name, or nothing."""
    return annotations.get(key(provider, "logical_switch"), "").strip()


def of_subnet(text: Mapping[str, str]) -> dict[str, str]:
    return {name: text[name] for name in _SUBNET if name in text}


def with_subnet(text: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, str]:
    """``text`` with these facts of its Subnet instead of those that it has."""
    return {name: value for name, value in text.items() if name not in _SUBNET} | dict(facts)


def node_port(annotations: Mapping[str, str]) -> str:
    """The logical switch port that a Node's annotations name, or nothing."""
    return annotations.get(key(_FIRST, "port_name"), "").strip()


def _live(provider: str) -> tuple[str, ...]:
    """What is followed while the pod runs."""
    return (
        *_SUBNET,
        *_keys(provider, (*_ROUTING, *_QOS)),
        *(_BANDWIDTH.values() if provider == _FIRST else ()),
    )


def _keys(provider: str, names: Collection[str]) -> tuple[str, ...]:
    return tuple(key(provider, name) for name in names)


def runtime_uid(pod_uid: str, annotations: Mapping[str, str]) -> str:
    """The UID that kubelet passes to the runtime: a static pod's is the hash in its mirror's annotation."""
    return annotations.get(MIRROR_UID, pod_uid)


def wait_reason(annotations: Mapping[str, str], provider: str) -> str | None:
    """What an ADD still waits for, in words; None when the annotations are complete."""
    for name, meaning in (
        ("ip_address", "no address"),
        ("mac_address", "no MAC"),
        ("cidr", "no prefix"),
    ):
        if not annotations.get(key(provider, name)):
            return f"{meaning} yet: annotation {key(provider, name)} is missing"
    for name in _READY:
        if annotations.get(key(provider, name)) != "true":
            return f"annotation {key(provider, name)} is not yet 'true'"
    return None


def parse(annotations: Mapping[str, str], provider: str, ifname: str) -> Allocation:
    """Read an attachment's annotations.

    Raises NotReady where the address is not there yet, Invalid where a value that the interface
    cannot do without is wrong. A wrong value elsewhere becomes one of the ``problems``.
    """
    text = relevant(annotations, provider)
    read = _parse if sum(map(len, text.values())) <= _REMEMBERED else _parse.__wrapped__
    return read(frozenset(text.items()), provider, ifname)


@lru_cache(maxsize=1024)
def _parse(annotations: frozenset[tuple[str, str]], provider: str, ifname: str) -> Allocation:
    """Each look at an attachment needs the same text again: reading it took as long as reading the kernel."""
    read = Reader(dict(annotations), lambda name: name if name in _SUBNET else key(provider, name))
    addresses = _addresses(read)
    problems = read.problems
    gateways = routing.first_of_family(
        _tolerate(problems, lambda: routing.gateways(read, SUBNET_GATEWAY, addresses)),
        _tolerate(problems, lambda: routing.gateways(read, "gateway", addresses)),
    )
    routes = _tolerate(problems, lambda: routing.routes(read, addresses, gateways))
    defaults = tuple(route.via for route in routes if route.destination.prefixlen == 0)
    return Allocation(
        addresses=addresses,
        mac=_mac(read),
        logical_switch=read.text("logical_switch"),
        gateways=routing.first_of_family(defaults, gateways),
        default_route=_flag(read, "default_route", default=ifname == "eth0"),
        routes=tuple(route for route in routes if route.destination.prefixlen),
        mtu=read.number(SUBNET_MTU, lambda text: values.mtu(text, addresses)) or 0,
        repair=next(iter(_tolerate(problems, lambda: _repair(annotations))), None),
        qos=Qos(
            _limit(read, provider, "ingress"), _limit(read, provider, "egress"), _impairment(read)
        ),
        problems=tuple(problems),
        notices=tuple(read.notices),
    )


def settle(
    good: Mapping[str, str] | None, now: Mapping[str, str], provider: str, ifname: str
) -> Allocation:
    """The allocation in force: what is fixed from ``good``, what is live from ``now`` where it is valid."""
    if good is None or good == relevant(now, provider):
        return parse(now, provider, ifname)
    wrong = []
    for name in _FIXED:
        before, after = good.get(key(provider, name)), now.get(key(provider, name))
        if before != after:
            allowed = f"{before!r}, fixed for this sandbox; another value takes effect in a new pod"
            wrong.append(Invalid(key(provider, name), after, allowed))
    live = parse(_merged(good, now, provider, _keys(provider, _FIXED)), provider, ifname)
    force = parse(usable(good, now, provider, ifname), provider, ifname)
    return replace(force, problems=(*wrong, *live.problems))


def usable(
    good: Mapping[str, str] | None, now: Mapping[str, str], provider: str, ifname: str
) -> dict[str, str]:
    """The text to remember: ``now`` with every value that could not be used put back to ``good``."""
    if good == relevant(now, provider):
        return relevant(now, provider)
    before, fixed = dict(good or {}), () if good is None else _keys(provider, _FIXED)
    problems = {
        problem.key
        for problem in parse(_merged(before, now, provider, fixed), provider, ifname).problems
    }
    wrong = [name for name in (REPAIR, *_live(provider)) if name in problems]
    routing = (SUBNET_GATEWAY, *_keys(provider, _ROUTING))
    for back in ((), wrong, (*wrong, *routing)):  # one put back may not fit a new other one
        text = _merged(before, now, provider, (*fixed, *back))
        if not parse(text, provider, ifname).problems:
            break
    return text


def _merged(
    good: Mapping[str, str], now: Mapping[str, str], provider: str, kept: Collection[str]
) -> dict[str, str]:
    """``now`` but for the ``kept`` keys, which are as they are in ``good``."""
    return {
        **{name: value for name, value in relevant(now, provider).items() if name not in kept},
        **{name: value for name, value in good.items() if name in kept},
    }


def _limit(read: Reader, provider: str, direction: str) -> Limit | None:
    """The provider's rate where there is one, 0 included; else Kubernetes' own."""
    rate = read.number(f"{direction}_rate", qos.megabits)
    bandwidth = read.rounded(_BANDWIDTH[direction], qos.quantity) if provider == _FIRST else None
    burst = read.number(f"{direction}_burst", qos.burst) or None
    rate = bandwidth if rate is None else rate
    if rate and burst and burst > rate * qos.LONGEST:
        read.problems.append(
            read.invalid(
                f"{direction}_burst", f"at most what passes in {qos.LONGEST} s at the rate"
            )
        )
        burst = None
    return Limit(rate, burst) if rate else None


def _impairment(read: Reader) -> Impairment | None:
    latency, jitter = (read.number(name, qos.milliseconds) or 0 for name in ("latency", "jitter"))
    found = Impairment(
        latency, jitter, read.number("limit", qos.packets) or 0, read.percent("loss") or 0
    )
    return None if found == Impairment() else found


def _addresses(read: Reader) -> tuple[Interface, ...]:
    texts, prefixes = values.split(read.text("ip_address")), values.split(read.text("cidr"))
    if not texts:
        raise NotReady("no address yet: annotation ip_address is missing")
    networks = {network.version: network for network in (_network(read, text) for text in prefixes)}
    found = []
    for text in texts:
        try:
            address = values.host(text)
        except ValueError as error:
            raise read.invalid(
                "ip_address", "one IPv4 or IPv6 address, or one of each, comma separated"
            ) from error
        if address.is_multicast or address.is_unspecified or address.is_loopback:
            raise read.invalid("ip_address", "an address of a host")
        network = networks.get(address.version)
        if network is None or address not in network:
            raise read.invalid(
                "ip_address", f"an address inside {read.text('cidr') or 'cidr, which is missing'}"
            )
        found.append(ip_interface(f"{address}/{network.prefixlen}"))
    if len({address.version for address in found}) != len(found):
        raise read.invalid("ip_address", "at most one address of each family")
    return tuple(found)


def _network(read: Reader, text: str) -> Destination:
    try:
        network = values.prefix(text)
    except ValueError as error:
        raise read.invalid(
            "cidr", "one prefix of each family of ip_address, comma separated"
        ) from error
    if network.prefixlen == 0:
        raise read.invalid("cidr", "a prefix that is not everything")
    return network


def _mac(read: Reader) -> str:
    text = read.text("mac_address").lower()
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise read.invalid("mac_address", "a unicast MAC address such as 00:00:00:53:00:01")
    return text


def _repair(annotations: Collection[tuple[str, str]]) -> tuple[Repair, ...]:
    value = dict(annotations).get(REPAIR)
    match value:
        case None:
            return ()
        case "fix" | "report" | "off":
            return (value,)
        case _:
            raise Invalid(REPAIR, value, "'fix', 'report' or 'off'")


def _flag(read: Reader, name: str, *, default: bool) -> bool:
    match read.text(name):
        case "":
            return default
        case "true":
            return True
        case "false":
            return False
        case _:
            raise read.invalid(name, "'true' or 'false'")


def _tolerate(problems: list[Invalid], read: Callable[[], tuple[_T, ...]]) -> tuple[_T, ...]:
    try:
        return read()
    except Invalid as problem:
        problems.append(problem)
        return ()
