"""Which addresses of this node the tunnels of OVN have, as values.

`ovn-encap-ip` lists all, separated by commas; `ovn-encap-ip-default` is the one of networks that
name none (OVN 24.03 and later; Kube-OVN 1.14 and later write it).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar

from ovnlet.core.annotations import ENCAP_IP
from ovnlet.core.identity import OfNode
from ovnlet.core.resources import ABSENT, ChassisId, Network
from ovnlet.core.setting_values import INTERNAL_IP
from ovnlet.core.settings import Settings

ALL, DEFAULT = "ovn-encap-ip", "ovn-encap-ip-default"
# Annotations of the Node, of Kube-OVN's contract.
INTERFACE, NETWORKS = "ovn.kubernetes.io/tunnel_interface", "ovn.kubernetes.io/node_networks"
KEYS = frozenset({ALL, DEFAULT})
# Links whose addresses are of no use for a tunnel between nodes.
_NO_UNDERLAY = frozenset({"lo", "ovn0"})
# The addresses of each link by its name, as text, in the kernel's order.
Links = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class EncapIdentity(OfNode):
    """The addresses of this node's tunnels."""

    name: ClassVar[str] = "encap"


@dataclass(frozen=True, slots=True)
class Sources:
    """What says which address it is, in the order of precedence.

    ``declared`` are an annotation of ours, or the InternalIPs if the setting asks for them, the
    best one first. ``given`` is an address by the setting. ``interface`` is the Node's
    annotation `tunnel_interface` or the setting: names or regular expressions, separated by commas.
    ``networks`` is its annotation `node_networks`, a JSON object with further addresses by name.
    ``internal`` are its InternalIPs.
    """

    declared: tuple[str, ...] = ()
    given: str = ""
    interface: str = ""
    networks: str = ""
    internal: tuple[str, ...] = ()


def desired(sources: Sources, links: Links, last: str) -> Network:
    """Return both keys; nothing while no address is known.

    ``last`` is what the tunnels have, or had last. It stays if it is an address of this node that
    nothing contradicts: an administrator may have chosen it by an option of kube-ovn-cni. An
    InternalIP comes last. An address that is on no link is never used, unless it is the setting.
    """
    usable = {name: each for name, each in links.items() if name not in _NO_UNDERLAY}
    present = {address for each in usable.values() for address in each}
    candidates = [
        *(each for each in sources.declared if each in present),
        sources.given,
        *_of_interfaces(sources.interface, usable),
        *([last] if last in present else []),
        *sorted((each for each in sources.internal if each in present), key=_version),
    ]
    default = next((each for each in candidates if each), "")
    if not default:
        return ABSENT
    others = (each for each in _networks(sources.networks) if each in present)
    every = ",".join(dict.fromkeys([default, *others]))
    return frozenset({ChassisId(ALL, every), ChassisId(DEFAULT, default)})


def kept(sources: Sources, links: Links, last: Mapping[str, str]) -> Network:
    """Return both keys as they are, or were last, unless an address is declared or given.

    It is for a node whose tunnels OVSDB decides: the value may be any.
    """
    present = {address for each in links.values() for address in each}
    best = next((each for each in sources.declared if each in present), sources.given)
    values = {**last, ALL: best} if best else last
    return frozenset(ChassisId(name, value) for name, value in values.items() if name in KEYS)


def unusable(sources: Sources, links: Links) -> str:
    """Return in words that no declared address is on a link; empty where one is, or none is."""
    present = {address for each in links.values() for address in each}
    if not sources.declared or present.intersection(sources.declared):
        return ""
    declared = ", ".join(sources.declared)
    return f"the Node declares the tunnel address {declared}, which no link here has"


def declared(
    settings: Settings, annotations: Mapping[str, str], internal: Iterable[str]
) -> tuple[str, ...]:
    """Return the addresses that the Node declares for this node's tunnels, the best one first.

    There are none if the Node has no annotation and the setting does not ask for its InternalIPs.
    """
    if own := annotations.get(ENCAP_IP, "").strip():
        return (own,)
    if settings.encap_ip != INTERNAL_IP:
        return ()
    return tuple(sorted(internal, key=_version))


def _of_interfaces(text: str, links: Links) -> Iterator[str]:
    """Yield the addresses of the links that a list of names and expressions means, IPv4 first."""
    for part in (each.strip() for each in text.split(",") if each.strip()):
        for name in [part] if part in links else sorted(links):
            if name == part or _matches(part, name):
                yield from sorted(links[name], key=_version)


def _matches(expression: str, name: str) -> bool:
    try:
        return re.fullmatch(expression, name) is not None
    except re.error:
        return False


def _networks(text: str) -> list[str]:
    """Return the addresses of `node_networks`; none where it is not such an object."""
    try:
        values = json.loads(text or "{}")
        return [str(ip_address(str(each))) for each in values.values()]
    except (ValueError, AttributeError, RecursionError):
        return []


def _version(text: str) -> int:
    return 6 if ":" in text else 4
