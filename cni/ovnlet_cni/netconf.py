"""The network configuration on stdin: strict JSON, its version, and the keys that this plugin reads."""

import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ovnlet_cni.errors import SUPPORTED_VERSIONS, CniError, Code
from ovnlet_cni.result import Attached, AttachedRoute, NotAResult, parse

Config = Mapping[str, object]

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_PROVIDER = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_ROUTES_LOOK = (
    'write [{"dst": "192.0.2.0/24", "gw": "198.51.100.1"}]; without dst it is the default route'
)


def decode(text: str) -> Config:
    """Strict JSON of an object. Python's own reader also takes NaN, and trips over depth and endless numbers."""
    try:
        config = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CniError(
            Code.DECODE, f"stdin is not JSON: {error}", "the runtime passes a configuration there"
        ) from error
    if not isinstance(config, dict):
        raise CniError(Code.DECODE, f"stdin is a JSON {type(config).__name__}, not an object")
    return config


def stated_version(config_text: str) -> str:
    """The version an error is rendered in: what the configuration says, if it can be read at all."""
    try:
        return str(decode(config_text).get("cniVersion", ""))
    except CniError:
        return ""


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def require_name(config: Config) -> None:
    """Every configuration names its network."""
    name = config.get("name")
    if not isinstance(name, str | None):
        raise CniError(Code.DECODE, f"name={name!r} in the network configuration is not a text")
    if not name:
        raise CniError(
            Code.INVALID_CONFIG, "name is missing in the network configuration", "name the network"
        )
    if not NAME.fullmatch(name):
        message = f"name={name!r} in the network configuration is not a network name"
        raise CniError(
            Code.INVALID_CONFIG, message, "use letters, digits and _.- with a letter or digit first"
        )


def version(verb: str, config: Config) -> str:
    """The version to answer in, once it is one of ours and knows the verb."""
    stated = config.get("cniVersion", "0.1.0")  # what a configuration without the key means
    if not isinstance(stated, str):
        raise CniError(
            Code.DECODE, f"cniVersion={stated!r} in the network configuration is not a text"
        )
    if stated not in SUPPORTED_VERSIONS:
        details = f"this plugin speaks {', '.join(SUPPORTED_VERSIONS)}"
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion={stated!r} is not supported", details
        )
    since = _SINCE.get(verb, SUPPORTED_VERSIONS[0])
    if SUPPORTED_VERSIONS.index(stated) < SUPPORTED_VERSIONS.index(since):
        message = f"config version does not allow {verb}: cniVersion={stated!r}"
        raise CniError(Code.INCOMPATIBLE_VERSION, message, f"{verb} exists since {since}")
    return stated


def valid_attachments(config: Config) -> frozenset[tuple[str, str]]:
    """What the runtime calls valid in a GC, as pairs of container ID and interface."""
    key = next(
        (key for key in ("cni.dev/valid-attachments", "cni.dev/attachments") if key in config), None
    )
    if key is None:  # taken for an empty list it would mean: everything is garbage
        message = "cni.dev/valid-attachments is missing in the network configuration of GC"
        raise CniError(
            Code.INVALID_CONFIG, message, "the runtime lists the attachments that it knows there"
        )
    items = config[key]
    valid = _pairs(items) if isinstance(items, list) else None
    if valid is None:
        message = f"{key} is not a list of objects with containerID and ifname"
        raise CniError(
            Code.INVALID_CONFIG, message, 'write [{"containerID": "…", "ifname": "eth0"}]'
        )
    return valid


def _pairs(items: list[object]) -> frozenset[tuple[str, str]] | None:
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


def provider(config: Config) -> str:
    """The prefix of this attachment's annotations."""
    stated = config.get("provider")
    if stated in (None, ""):
        return "ovn"
    if not isinstance(stated, str) or not _PROVIDER.fullmatch(stated):
        message = (
            f"provider={stated!r} in the network configuration is not the prefix of an annotation"
        )
        raise CniError(
            Code.INVALID_CONFIG, message, 'leave it out, or write "<name>.<namespace>.ovn"'
        )
    return stated


def routes(config: Config) -> tuple[AttachedRoute, ...]:
    """Routes that the configuration gives to every pod."""
    items = config.get("routes")
    if items is None:
        return ()
    if not isinstance(items, list):
        raise CniError(
            Code.INVALID_CONFIG, "routes in the network configuration is not a list", _ROUTES_LOOK
        )
    return tuple(_route(item) for item in items)


def _route(item: object) -> AttachedRoute:
    """A route without `dst` is the default route of the gateway's family."""
    if not isinstance(item, dict) or not isinstance(item.get("gw"), str):
        raise CniError(
            Code.INVALID_CONFIG,
            f"routes in the network configuration: {item!r} has no gw",
            _ROUTES_LOOK,
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
            Code.INVALID_CONFIG, f"routes in the network configuration: {error}", _ROUTES_LOOK
        ) from error


def prev_result(config: Config) -> Attached | None:
    """The result of the plugin before this one, or of our own ADD in a CHECK."""
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
            Code.INVALID_CONFIG, message, "the runtime passes the result of the plugin before it"
        ) from error
