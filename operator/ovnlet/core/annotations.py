"""Parse annotations into values. This is the only module that knows an annotation's full key.

The contract is Kube-OVN's: keys are ``<provider>.kubernetes.io/<name>``, lists are comma separated
with IPv4 first.
"""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import TypeVar

from ovnlet.core import addressing, qos, routing, values, virtual_machines
from ovnlet.core.allocation import Allocation
from ovnlet.core.errors import Invalid
from ovnlet.core.parse_cache import ParseCache
from ovnlet.core.qos import Impairment, Limit, Qos
from ovnlet.core.reader import Reader
from ovnlet.core.settings import Repair

MIRROR_UID = "kubernetes.io/config.mirror"
# A pod's own drift policy: a pod with NET_ADMIN changes its routes on purpose.
REPAIR = "ovnlet.io/repair"
# On a Node: its address for tunnels, which takes precedence over the agents' setting.
ENCAP_IP = "ovnlet.io/encap-ip"
# On a Node: the name of its chassis, which its agent writes for the controller.
CHASSIS = "ovn.kubernetes.io/chassis"
FIXED = ("ip_address", "cidr", "mac_address", "logical_switch", "default_route")
ROUTING = ("gateway", "routes")
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
PROVIDER_NETWORK = "provider_network"
_NODE = ("ip_address", "cidr", "mac_address", "gateway", "logical_switch", "port_name")
# Facts of the pod's Subnet. They are stored among its annotations, so that one record holds all
# that was valid. A real annotation key cannot contain a blank.
SUBNET_MTU, SUBNET_GATEWAY = "Subnet mtu", "Subnet gateway"
_SUBNET = (SUBNET_MTU, SUBNET_GATEWAY)
# Kubernetes' own limits, for the pod's first interface. The provider's `*_rate` takes precedence.
_BANDWIDTH = {
    "ingress": "kubernetes.io/ingress-bandwidth",
    "egress": "kubernetes.io/egress-bandwidth",
}
FIRST = "ovn"  # the provider of a pod's own network
# Characters of annotations whose parsed values are cached, in all. A pod of Kube-OVN has 300 to
# 600. A parsed character takes 16 bytes at most (routes), so this is 8 MiB at worst.
_MAX_CACHED = 512 * 1024

# Every pass needs the same text again: without the cache, parsing took as long as reading the state
# from the kernel.
_CACHE: ParseCache[Allocation] = ParseCache(_MAX_CACHED)
_T = TypeVar("_T")


def key(provider: str, name: str) -> str:
    """Return the full annotation key of a short name."""
    return f"{provider}.kubernetes.io/{name}"


def relevant(annotations: Mapping[str, str], provider: str) -> dict[str, str]:
    """Return the annotations that affect this attachment. These are what a record stores."""
    names = _relevant(provider)
    return {name: value for name, value in annotations.items() if name in names}


@lru_cache(maxsize=64)
def _relevant(provider: str) -> frozenset[str]:
    fixed = keys(provider, (*FIXED, *_READY, PROVIDER_NETWORK, virtual_machines.SHORT))
    return frozenset((REPAIR, *virtual_machines.KEYS, *fixed, *live_keys(provider)))


def of_node(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of a Node that affect the node's own interface."""
    return {name: annotations[name] for name in keys(FIRST, _NODE) if name in annotations}


def switch(annotations: Mapping[str, str], provider: str) -> str:
    """Return the name of the Subnet, or an empty string."""
    return annotations.get(key(provider, "logical_switch"), "").strip()


def provider_network(annotations: Mapping[str, str], provider: str) -> str:
    """Return the ProviderNetwork whose physical network the pod is in, or an empty string."""
    return annotations.get(key(provider, PROVIDER_NETWORK), "").strip()


def machine(annotations: Mapping[str, str], provider: str) -> str:
    """Return the virtual machine by which the network's logical port is named, or ""."""
    return virtual_machines.named(annotations.get(key(provider, virtual_machines.SHORT), ""))


def of_subnet(text: Mapping[str, str]) -> dict[str, str]:
    """Return only the facts of the Subnet from stored annotations."""
    return {name: text[name] for name in _SUBNET if name in text}


def with_subnet(text: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, str]:
    """Return ``text`` with its Subnet facts replaced by ``facts``."""
    return {name: value for name, value in text.items() if name not in _SUBNET} | dict(facts)


def node_port(annotations: Mapping[str, str]) -> str:
    """Return the logical switch port that a Node's annotations name, or an empty string."""
    return annotations.get(key(FIRST, "port_name"), "").strip()


def live_keys(provider: str) -> tuple[str, ...]:
    """Return the keys whose edits take effect while the pod runs."""
    return (
        *_SUBNET,
        *keys(provider, (*ROUTING, *_QOS)),
        *(_BANDWIDTH.values() if provider == FIRST else ()),
    )


def keys(provider: str, names: Collection[str]) -> tuple[str, ...]:
    """Return the full annotation keys of several short names."""
    return tuple(key(provider, name) for name in names)


def runtime_uid(pod_uid: str, annotations: Mapping[str, str]) -> str:
    """Return the UID that kubelet passes to the runtime.

    For a static pod it is the hash in the annotation of its mirror pod, not ``metadata.uid``.
    """
    return annotations.get(MIRROR_UID, pod_uid)


def wait_reason(
    annotations: Mapping[str, str], provider: str, *, addresses_only: bool = False
) -> str | None:
    """Return in words what an ADD, also one for addresses alone, waits for; None for nothing."""
    bare = is_bare(annotations, provider)
    for name, meaning in (
        *(() if bare else (("ip_address", "no address"), ("cidr", "no prefix"))),
        ("mac_address", "no MAC"),
    ):
        if not annotations.get(key(provider, name)):
            return f"{meaning} yet: annotation {key(provider, name)} is missing"
    for name in _READY[:1] if addresses_only else _READY:
        if annotations.get(key(provider, name)) != "true":
            return f"annotation {key(provider, name)} is not yet 'true'"
    return None


def is_bare(annotations: Mapping[str, str], provider: str) -> bool:
    """Return whether a further interface is to have no address of ours, but a MAC.

    Kube-OVN's controller writes an allocation in one patch, without an address for a Subnet without
    a prefix. What runs in the pod then has its addresses from elsewhere.
    """
    given = {name: annotations.get(key(provider, name), "") for name in ("ip_address", "cidr")}
    allocated = annotations.get(key(provider, "allocated")) == "true"
    return provider != FIRST and allocated and not any(given.values())


def parse(annotations: Mapping[str, str], provider: str, ifname: str) -> Allocation:
    """Parse an attachment's annotations.

    A wrong value that the interface can do without becomes one of the ``problems``. Raises NotReady
    if there is no address yet, and Invalid if a value is wrong that the interface cannot do
    without.
    """
    text = relevant(annotations, provider)
    cached = (frozenset(text.items()), provider, ifname)
    if (found := _CACHE.get(cached)) is None:
        found = _parse(*cached)
        _CACHE.put(cached, found, sum(map(_cost, text.values())))
    return found


def _cost(text: str) -> int:
    """Return its length as a cost: with one character outside of ASCII, all take four bytes."""
    return len(text) if text.isascii() else 4 * len(text)


def _parse(annotations: frozenset[tuple[str, str]], provider: str, ifname: str) -> Allocation:
    read = Reader(dict(annotations), lambda name: name if name in _SUBNET else key(provider, name))
    addresses = () if is_bare(dict(annotations), provider) else addressing.addresses(read)
    problems = read.problems
    gateways = routing.first_of_family(
        _tolerate(problems, lambda: routing.gateways(read, SUBNET_GATEWAY, addresses)),
        _tolerate(problems, lambda: routing.gateways(read, "gateway", addresses)),
    )
    routes = _tolerate(problems, lambda: routing.routes(read, addresses, gateways))
    defaults = tuple(route.via for route in routes if route.destination.prefixlen == 0)
    return Allocation(
        addresses=addresses,
        mac=addressing.mac(read),
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


def _limit(read: Reader, provider: str, direction: str) -> Limit | None:
    """Return the provider's rate if it has one, even 0, or else Kubernetes' own bandwidth."""
    rate = read.number(f"{direction}_rate", qos.megabits)
    bandwidth = read.rounded(_BANDWIDTH[direction], qos.quantity) if provider == FIRST else None
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


def _repair(annotations: Collection[tuple[str, str]]) -> tuple[Repair, ...]:
    """Return the pod's repair policy, or nothing if it has none. Raises Invalid."""
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
    """Return what ``read`` returns, or nothing after adding its Invalid error to ``problems``."""
    try:
        return read()
    except Invalid as problem:
        problems.append(problem)
        return ()
