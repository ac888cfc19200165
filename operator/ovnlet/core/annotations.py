"""Annotations, text to values: the only file that knows an annotation's name.

The contract is Kube-OVN's: keys are ``<provider>.kubernetes.io/<name>``, lists are comma separated
with IPv4 first.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import (
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TypeVar

from ovnlet.core.allocation import Address, Allocation, CustomRoute, Destination, Interface
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.settings import Repair

MIRROR_UID = "kubernetes.io/config.mirror"
# What the agent does about drift of this pod: NET_ADMIN pods change their routes on purpose.
REPAIR = "ovnlet.io/repair"
_FIXED = ("ip_address", "cidr", "mac_address", "logical_switch", "default_route")
_LIVE = ("gateway", "routes")
_READY = ("allocated", "routed")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MAX_ROUTES = 256
_MAX_VALUE = 64 * 1024

_T = TypeVar("_T")


def key(provider: str, name: str) -> str:
    return f"{provider}.kubernetes.io/{name}"


def relevant(annotations: Mapping[str, str], provider: str) -> dict[str, str]:
    """The annotations that shape this attachment: what a record remembers."""
    names = (REPAIR, *(key(provider, name) for name in (*_FIXED, *_LIVE, *_READY)))
    return {name: annotations[name] for name in names if name in annotations}


def runtime_uid(pod_uid: str, annotations: Mapping[str, str]) -> str:
    """The UID that kubelet passes to the runtime: a static pod's is the hash in its mirror's annotation."""
    return annotations.get(MIRROR_UID, pod_uid)


def wait_reason(annotations: Mapping[str, str], provider: str) -> str | None:
    """What an ADD still waits for, in words; None when the annotations are complete."""
    for name, meaning in (("ip_address", "no address"), ("mac_address", "no MAC"), ("cidr", "no prefix")):
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
    return _parse(frozenset(relevant(annotations, provider).items()), provider, ifname)


@lru_cache(maxsize=1024)
def _parse(annotations: frozenset[tuple[str, str]], provider: str, ifname: str) -> Allocation:
    """Each look at an attachment needs the same text again: reading it took as long as reading the kernel."""
    read = _Reader(dict(annotations), provider)
    addresses = _addresses(read)
    problems: list[Invalid] = []
    gateways = _tolerate(problems, lambda: _gateways(read, addresses))
    routes = _tolerate(problems, lambda: _routes(read, addresses, gateways))
    defaults = tuple(route.via for route in routes if route.destination.prefixlen == 0)
    families = {gateway.version for gateway in defaults}
    return Allocation(
        addresses=addresses,
        mac=_mac(read),
        logical_switch=read.text("logical_switch"),
        gateways=(*defaults, *(g for g in gateways if g.version not in families)),
        default_route=_flag(read, "default_route", default=ifname == "eth0"),
        routes=tuple(route for route in routes if route.destination.prefixlen),
        repair=next(iter(_tolerate(problems, lambda: _repair(annotations))), None),
        problems=tuple(problems),
    )


def settle(good: Mapping[str, str] | None, now: Mapping[str, str], provider: str, ifname: str) -> Allocation:
    """The allocation in force: what is fixed from ``good``, what is live from ``now`` where it is valid."""
    if good is None or good == relevant(now, provider):
        return parse(now, provider, ifname)
    wrong = []
    for name in _FIXED:
        before, after = good.get(key(provider, name)), now.get(key(provider, name))
        if before != after:
            allowed = f"{before!r}, fixed for this sandbox; another value takes effect in a new pod"
            wrong.append(Invalid(key(provider, name), after, allowed))
    live = parse(_merged(good, now, provider, _FIXED), provider, ifname)
    force = parse(usable(good, now, provider, ifname), provider, ifname)
    return replace(force, problems=(*wrong, *live.problems))


def usable(good: Mapping[str, str] | None, now: Mapping[str, str], provider: str, ifname: str) -> dict[str, str]:
    """The text to remember: ``now`` with every value that could not be used put back to ``good``."""
    if good == relevant(now, provider):
        return relevant(now, provider)
    before, fixed = dict(good or {}), () if good is None else _FIXED
    problems = parse(_merged(before, now, provider, fixed), provider, ifname).problems
    wrong = [name for name in _LIVE if key(provider, name) in {problem.key for problem in problems}]
    for back in ((), wrong, _LIVE):  # one put back may not fit a new other one
        text = _merged(before, now, provider, (*fixed, *back))
        if not parse(text, provider, ifname).problems:
            break
    return text


def _merged(good: Mapping[str, str], now: Mapping[str, str], provider: str, kept: Collection[str]) -> dict[str, str]:
    """``now`` but for the ``kept`` names, which are as they are in ``good``."""
    names = {key(provider, name) for name in kept}
    return {
        **{name: value for name, value in relevant(now, provider).items() if name not in names},
        **{name: value for name, value in good.items() if name in names},
    }


class _Reader:
    """Values by their short name, with the full key at hand for the error."""

    def __init__(self, annotations: Mapping[str, str], provider: str) -> None:
        self._annotations, self._provider = annotations, provider

    def text(self, name: str) -> str:
        value = self._annotations.get(key(self._provider, name), "")
        if len(value) > _MAX_VALUE:
            raise self.invalid(name, f"at most {_MAX_VALUE} characters")
        return value.strip()

    def invalid(self, name: str, allowed: str) -> Invalid:
        full = key(self._provider, name)
        return Invalid(full, self._annotations.get(full), allowed)


def _addresses(read: _Reader) -> tuple[Interface, ...]:
    texts, prefixes = _split(read.text("ip_address")), _split(read.text("cidr"))
    if not texts:
        raise NotReady("no address yet: annotation ip_address is missing")
    networks = {network.version: network for network in (_network(read, text) for text in prefixes)}
    found = []
    for text in texts:
        try:
            address = _address(text.partition("/")[0])
        except ValueError as error:
            raise read.invalid("ip_address", "one IPv4 or IPv6 address, or one of each, comma separated") from error
        if address.is_multicast or address.is_unspecified or address.is_loopback:
            raise read.invalid("ip_address", "an address of a host")
        network = networks.get(address.version)
        if network is None or address not in network:
            raise read.invalid("ip_address", f"an address inside {read.text('cidr') or 'cidr, which is missing'}")
        found.append(ip_interface(f"{address}/{network.prefixlen}"))
    if len({address.version for address in found}) != len(found):
        raise read.invalid("ip_address", "at most one address of each family")
    return tuple(found)


def _network(read: _Reader, text: str) -> Destination:
    try:
        network = _prefix(text)
    except ValueError as error:
        raise read.invalid("cidr", "one prefix of each family of ip_address, comma separated") from error
    if network.prefixlen == 0:
        raise read.invalid("cidr", "a prefix that is not everything")
    return network


def _mac(read: _Reader) -> str:
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


def _flag(read: _Reader, name: str, *, default: bool) -> bool:
    match read.text(name):
        case "":
            return default
        case "true":
            return True
        case "false":
            return False
        case _:
            raise read.invalid(name, "'true' or 'false'")


def _gateways(read: _Reader, addresses: tuple[Interface, ...]) -> tuple[Address, ...]:
    try:
        gateways = [_address(text) for text in _split(read.text("gateway"))]
    except ValueError as error:
        raise read.invalid("gateway", "one address of each family of ip_address, comma separated") from error
    return tuple(_reachable(read, "gateway", g, addresses) for g in gateways if _family(g, addresses))


def _routes(read: _Reader, addresses: tuple[Interface, ...], gateways: tuple[Address, ...]) -> tuple[CustomRoute, ...]:
    shape = 'a JSON list such as [{"dst":"192.0.2.0/24","gw":"10.16.0.1"}], without dst for a default route'
    try:
        entries = json.loads(read.text("routes") or "[]")
        if not isinstance(entries, list) or len(entries) > _MAX_ROUTES:
            raise read.invalid("routes", f"{shape}, at most {_MAX_ROUTES}")
        routes = [_route(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise read.invalid("routes", shape) from error
    if len({route.destination for route in routes}) != len(routes):
        raise read.invalid("routes", f"{shape}, each destination once")
    for route in routes:
        _reachable(read, "routes", route.via, addresses)
    if _shadowed(routes, addresses, (*gateways, *(route.via for route in routes))):
        raise read.invalid("routes", f"{shape}, no destination inside the pod's own prefix that holds a gateway")
    return tuple(routes)


def _route(entry: Mapping[str, str]) -> CustomRoute:
    via = _address(str(entry["gw"]))
    text = entry.get("dst") or ("0.0.0.0/0" if via.version == 4 else "::/0")
    destination = _prefix(str(text))
    if destination.version != via.version:
        raise ValueError("destination and gateway of two families")
    return CustomRoute(destination, via)


def _reachable(read: _Reader, name: str, gateway: Address, addresses: tuple[Interface, ...]) -> Address:
    """The kernel refuses a gateway that no connected route covers, and one that is the pod itself."""
    if any(gateway in a.network and gateway != a.ip for a in addresses if a.version == gateway.version):
        return gateway
    networks = ", ".join(str(a.network) for a in addresses)
    raise read.invalid(name, f"a gateway inside {networks} that is not the pod's own address")


def _shadowed(routes: list[CustomRoute], addresses: tuple[Interface, ...], gateways: tuple[Address, ...]) -> bool:
    """IPv6 refuses a gateway whose longest match is a route through another one; IPv4 finds the connected one."""
    own = {address.version: address.network.prefixlen for address in addresses}
    inner = [r.destination for r in routes if r.via.version == 6 and r.destination.prefixlen > own[6]]
    return any(gateway in destination for destination in inner for gateway in gateways)


def _address(text: str) -> Address:
    return ip_address(_without_zone(text))


def _prefix(text: str) -> Destination:
    return ip_network(_without_zone(text), strict=False)


def _without_zone(text: str) -> str:
    """What the kernel shows never bears one, so that it would differ for ever."""
    if "%" in text:
        raise ValueError("an address with a zone")
    return text


def _family(gateway: Address, addresses: tuple[Interface, ...]) -> bool:
    return any(address.version == gateway.version for address in addresses)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _tolerate(problems: list[Invalid], read: Callable[[], tuple[_T, ...]]) -> tuple[_T, ...]:
    try:
        return read()
    except Invalid as problem:
        problems.append(problem)
        return ()
