"""The network configuration on stdin: strict JSON, its version, and the keys that we read.

Every function raises CniError if its part of the configuration is wrong.
"""

import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from ovnlet_cni.errors import SUPPORTED_VERSIONS, CniError, Code
from ovnlet_cni.result import Attached, AttachedRoute, NotAResult, parse

Config = Mapping[str, object]

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_PROVIDER = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# What a network configuration of ours may have as its type. Kube-OVN's controller gives addresses
# only to NetworkAttachmentDefinitions of type kube-ovn.
TYPES = ("ovnlet", "kube-ovn")
# Keys of Kube-OVN's configurations for interfaces that are not veth pairs.
_DEVICES = ("deviceID", "vf_driver", "vhost_user_socket_volume_name", "vhost_user_socket_name")
_MTUS = range(576, 65536)  # RFC 791: what every IPv4 host must take
_FIRST_VERSION = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_ROUTES_EXAMPLE = (
    'write [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]; without dst it is the default route'
)


def decode(text: str) -> Config:
    """Return the JSON object in `text`.

    Python's own parser also accepts NaN, and fails on deep nesting and very long numbers.
    """
    try:
        config = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CniError(
            Code.DECODE, f"stdin is not JSON: {error}", "the runtime must pass the configuration"
        ) from error
    if not isinstance(config, dict):
        raise CniError(Code.DECODE, f"stdin is a JSON {type(config).__name__}, not an object")
    return config


def stated_version(config_text: str) -> str:
    """Return the version that an error is rendered in: the configuration's, or an empty string."""
    try:
        return str(decode(config_text).get("cniVersion", ""))
    except CniError:
        return ""


def _no_constant(name: str) -> object:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def require_name(config: Config) -> None:
    """Check that the configuration names its network."""
    name = config.get("name")
    if not isinstance(name, str | None):
        raise CniError(Code.DECODE, f"name={name!r} in the network configuration is not a string")
    if not name:
        raise CniError(
            Code.INVALID_CONFIG, "name is missing in the network configuration", "name the network"
        )
    if not NAME.fullmatch(name):
        message = f"name={name!r} in the network configuration is not a network name"
        raise CniError(
            Code.INVALID_CONFIG, message, "use letters, digits and _.-, a letter or digit first"
        )


def version(verb: str, config: Config) -> str:
    """Return the version to answer in, if we support it and it has the verb."""
    stated = config.get("cniVersion", "0.1.0")  # the version of a configuration without the key
    if not isinstance(stated, str):
        raise CniError(
            Code.DECODE, f"cniVersion={stated!r} in the network configuration is not a string"
        )
    if stated not in SUPPORTED_VERSIONS:
        details = f"this plugin supports {', '.join(SUPPORTED_VERSIONS)}"
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion={stated!r} is not supported", details
        )
    since = _FIRST_VERSION.get(verb, SUPPORTED_VERSIONS[0])
    if SUPPORTED_VERSIONS.index(stated) < SUPPORTED_VERSIONS.index(since):
        message = f"config version does not allow {verb}: cniVersion={stated!r}"
        raise CniError(Code.INCOMPATIBLE_VERSION, message, f"{verb} exists since {since}")
    return stated


def valid_attachments(config: Config) -> frozenset[tuple[str, str]]:
    """Return the attachments that a GC calls valid, as pairs of container ID and interface.

    Go's CNI library encodes a list without an element as ``null``.
    """
    key = next(
        (key for key in ("cni.dev/valid-attachments", "cni.dev/attachments") if key in config), None
    )
    if key is None:  # an empty list would mean that every attachment is garbage
        message = "cni.dev/valid-attachments is missing in the network configuration of GC"
        raise CniError(
            Code.INVALID_CONFIG, message, "the runtime must list the attachments that it knows"
        )
    items = [] if config[key] is None else config[key]
    valid = _pairs(items) if isinstance(items, list) else None
    if valid is None:
        message = f"{key} is not a list of objects with containerID and ifname"
        raise CniError(
            Code.INVALID_CONFIG, message, 'write [{"containerID": "…", "ifname": "eth0"}]'
        )
    return valid


def _pairs(items: list[object]) -> frozenset[tuple[str, str]] | None:
    """Return the pairs of container ID and interface, or None if any item is not one."""
    pairs = set()
    for item in items:
        if not isinstance(item, dict):
            return None
        match item:
            case {"containerID": str(container_id), "ifname": str(ifname)}:
                pairs.add((container_id, ifname))
            case _:
                return None
    return frozenset(pairs)


def is_ipam_only(config: Config) -> bool:
    """Return whether another plugin makes the interface and delegates its addresses to us."""
    ipam = config.get("ipam")
    return config.get("type") not in TYPES and isinstance(ipam, dict) and ipam.get("type") in TYPES


def of_interface(config: Config) -> Config:
    """Return the part with our keys: the whole, or the section `ipam` of another plugin's."""
    ipam = config.get("ipam")
    return ipam if is_ipam_only(config) and isinstance(ipam, dict) else config


def refuse_devices(config: Config) -> None:
    """Raise CniError where the configuration asks for an interface that is no veth pair."""
    for key in _DEVICES:
        if config.get(key):
            message = f"{key}={config[key]!r} in the network configuration: ovnlet makes veth pairs"
            raise CniError(Code.UNSUPPORTED_FIELD, message, "SR-IOV and DPDK need kube-ovn-cni")


def mtu(config: Config) -> int:
    """Return the MTU for this network's interfaces in bytes, 0 without one."""
    stated = config.get("mtu", 0)
    if stated in (0, None):
        return 0
    if not isinstance(stated, int) or isinstance(stated, bool) or stated not in _MTUS:
        message = f"mtu={stated!r} in the network configuration is not an MTU"
        raise CniError(
            Code.INVALID_CONFIG, message, f"leave it out, or write {_MTUS[0]} to {_MTUS[-1]}"
        )
    return stated


def provider(config: Config) -> str:
    """Return the prefix of this attachment's annotations."""
    stated = config.get("provider")
    if stated in (None, ""):
        return "ovn"
    if not isinstance(stated, str) or not _PROVIDER.fullmatch(stated):
        message = f"provider={stated!r} in the network configuration is not an annotation prefix"
        raise CniError(
            Code.INVALID_CONFIG, message, 'leave it out, or write "<name>.<namespace>.ovn"'
        )
    return stated


def routes(config: Config, *, direct: bool = False) -> tuple[AttachedRoute, ...]:
    """Return the routes that the configuration adds to every pod.

    ``direct`` allows one without a gateway, which is for the plugin that makes the interface.
    """
    items = config.get("routes")
    if items is None:
        return ()
    if not isinstance(items, list):
        raise CniError(
            Code.INVALID_CONFIG,
            "routes in the network configuration is not a list",
            _ROUTES_EXAMPLE,
        )
    return tuple(_direct(item) if direct and _is_direct(item) else _route(item) for item in items)


def _is_direct(item: object) -> bool:
    return isinstance(item, dict) and bool(item.get("dst")) and not item.get("gw")


def _direct(item: dict[str, str]) -> AttachedRoute:
    """Return a route without a gateway."""
    try:
        return AttachedRoute(ip_network(item["dst"]))
    except (ValueError, TypeError) as error:
        raise CniError(
            Code.INVALID_CONFIG, f"routes in the network configuration: {error}", _ROUTES_EXAMPLE
        ) from error


def _route(item: object) -> AttachedRoute:
    """Return a route; without `dst` it is the default route of the gateway's family."""
    if not isinstance(item, dict) or not isinstance(item.get("gw"), str):
        raise CniError(
            Code.INVALID_CONFIG,
            f"routes in the network configuration: {item!r} has no gw",
            _ROUTES_EXAMPLE,
        )
    dst = item.get("dst", "")
    try:
        if ":" in item["gw"]:
            return AttachedRoute(IPv6Network("::/0" if dst == "" else dst), IPv6Address(item["gw"]))
        return AttachedRoute(
            IPv4Network("0.0.0.0/0" if dst == "" else dst), IPv4Address(item["gw"])
        )
    except (ValueError, TypeError) as error:
        raise CniError(
            Code.INVALID_CONFIG, f"routes in the network configuration: {error}", _ROUTES_EXAMPLE
        ) from error


def prev_result(config: Config) -> Attached | None:
    """Return the result of the previous plugin or, in a CHECK, of our own ADD."""
    body = config.get("prevResult")
    if body is None:
        return None
    try:
        if not isinstance(body, dict):
            raise NotAResult(f"it is a {type(body).__name__}")
        return parse(body)
    except ValueError as error:
        message = f"prevResult in the network configuration is not a result: {error}"
        raise CniError(
            Code.INVALID_CONFIG, message, "the runtime must pass the previous plugin's result"
        ) from error
