"""What an attachment has, as observed, and its CNI result in every version.

`prevResult` is parsed into `Attached` too. CHECK can then compare values, and a plugin that is not
the first of its chain can return the results before its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

Json = dict[str, object]
_WITH_IP_VERSION = frozenset({"0.3.1", "0.4.0"})
_WITH_DETAILS = frozenset({"1.1.0"})


class NotAResult(ValueError):
    """A `prevResult` that no plugin can have returned."""


@dataclass(frozen=True, slots=True)
class AttachedInterface:
    """An interface. `sandbox` is the path of its network namespace, or None for one of the host."""

    name: str
    mac: str = ""
    mtu: int | None = None
    sandbox: str | None = None
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class AttachedIp:
    """An address with its prefix. `interface` is an index into the interfaces."""

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class AttachedRoute:
    """A route. Only results of version 1.1.0 have more than `dst` and `gw`."""

    dst: IPv4Network | IPv6Network
    gw: IPv4Address | IPv6Address | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class Attached:
    """A whole result. `dns` is passed on; ovnlet never sets it."""

    interfaces: tuple[AttachedInterface, ...] = ()
    ips: tuple[AttachedIp, ...] = ()
    routes: tuple[AttachedRoute, ...] = ()
    dns: Mapping[str, object] = field(default_factory=dict, hash=False)

    def after(self, previous: "Attached | None") -> "Attached":
        """Return this result appended to the previous plugin's, with adjusted indices."""
        if previous is None:
            return self
        offset = len(previous.interfaces)
        moved = (
            replace(ip, interface=None if ip.interface is None else ip.interface + offset)
            for ip in self.ips
        )
        return Attached(
            (*previous.interfaces, *self.interfaces),
            (*previous.ips, *moved),
            (*previous.routes, *self.routes),
            {**previous.dns, **self.dns},
        )

    def render(self, version: str) -> bytes:
        """Return the result object, as the plugin prints it on stdout, in the requested version."""
        detailed = version in _WITH_DETAILS
        body: Json = {
            "cniVersion": version,
            "interfaces": [_interface(interface, detailed) for interface in self.interfaces],
            "ips": [_ip(ip, version in _WITH_IP_VERSION) for ip in self.ips],
            "routes": [_route(route, detailed) for route in self.routes],
            "dns": dict(self.dns),
        }
        return json.dumps(body).encode() + b"\n"


def parse(body: Mapping[str, object]) -> Attached:
    """Return the result in `body`, which may have any version. Raises ValueError if it is wrong."""
    dns = {} if body.get("dns") is None else body["dns"]
    if not isinstance(dns, dict):
        raise NotAResult("dns is not an object")
    attached = Attached(
        tuple(_read_interface(item) for item in _items(body, "interfaces")),
        tuple(_read_ip(item) for item in _items(body, "ips")),
        tuple(_read_route(item) for item in _items(body, "routes")),
        dns,
    )
    for ip in attached.ips:
        if ip.interface is not None and not 0 <= ip.interface < len(attached.interfaces):
            raise NotAResult(
                f"ips: {ip.address} names interface {ip.interface} of {len(attached.interfaces)}"
            )
    return attached


def _interface(interface: AttachedInterface, detailed: bool) -> Json:
    """Return an interface of a result; `detailed` adds the keys of version 1.1.0."""
    body: Json = {"name": interface.name, "mac": interface.mac, "sandbox": interface.sandbox}
    if detailed:
        body |= {
            "mtu": interface.mtu,
            "socketPath": interface.socket_path,
            "pciID": interface.pci_id,
        }
    return {key: value for key, value in body.items() if value not in (None, "")}


def _ip(ip: AttachedIp, with_version: bool) -> Json:
    """Return an address of a result; before 1.0.0 it also states its IP version."""
    body: Json = {"version": str(ip.address.version)} if with_version else {}
    body["address"] = str(ip.address)
    if ip.gateway is not None:
        body["gateway"] = str(ip.gateway)
    if ip.interface is not None:
        body["interface"] = ip.interface
    return body


def _route(route: AttachedRoute, detailed: bool) -> Json:
    """Return a route of a result; `detailed` adds the keys of version 1.1.0."""
    body: Json = {"dst": str(route.dst), "gw": None if route.gw is None else str(route.gw)}
    if detailed:
        body |= {
            key: getattr(route, key) for key in ("mtu", "advmss", "priority", "table", "scope")
        }
    return {key: value for key, value in body.items() if value is not None}


def _items(body: Mapping[str, object], key: str) -> list[Json]:
    """Return a list of objects. Raises NotAResult if it is anything else."""
    items = [] if body.get(key) is None else body[key]  # Go writes null for an empty list
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise NotAResult(f"{key} is not a list of objects")
    return items


def _text(item: Json, key: str) -> str:
    """Return a string, or an empty one if it is missing. Raises NotAResult."""
    value = item.get(key, "")
    if not isinstance(value, str):
        raise NotAResult(f"{key} is {value!r}, not a string")
    return value


def _number(item: Json, key: str) -> int | None:
    """Return an integer, or None if it is missing. Raises NotAResult."""
    value = item.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise NotAResult(f"{key} is {value!r}, not an integer")
    return value


def _address(item: Json, key: str) -> IPv4Address | IPv6Address | None:
    """Return an address, or None if it is missing. Raises ValueError."""
    text = _text(item, key)
    if not text:
        return None
    return IPv6Address(text) if ":" in text else IPv4Address(text)


def _read_interface(item: Json) -> AttachedInterface:
    return AttachedInterface(
        _text(item, "name"),
        _text(item, "mac"),
        _number(item, "mtu"),
        _text(item, "sandbox") or None,
        _text(item, "socketPath"),
        _text(item, "pciID"),
    )


def _read_ip(item: Json) -> AttachedIp:
    text = _text(item, "address")
    address = IPv6Interface(text) if ":" in text else IPv4Interface(text)
    return AttachedIp(address, _address(item, "gateway"), _number(item, "interface"))


def _read_route(item: Json) -> AttachedRoute:
    text = _text(item, "dst")
    # Go's IPNet clears the host bits, so runtimes store routes with and without them.
    dst = IPv6Network(text, strict=False) if ":" in text else IPv4Network(text, strict=False)
    numbers = (_number(item, key) for key in ("mtu", "advmss", "priority", "table", "scope"))
    return AttachedRoute(dst, _address(item, "gw"), *numbers)
