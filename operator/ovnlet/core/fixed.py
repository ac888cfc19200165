"""What an ADD fixed, kept in the labels of the OVS port: enough to make a lost record again."""

import json
import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple, Self

from ovnlet.core.allocation import Allocation, Interface
from ovnlet.core.annotations import FIXED, key, keys, parse, relevant
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.identity import Attachment
from ovnlet.core.resources.ovs import FIXED_VALUES as KEY

# A Subnet's name. Labels take no other text of an annotation.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

__all__ = ["KEY", "Fixed", "Found", "decode", "restored"]


class Fixed(NamedTuple):
    """The values that stay for the life of a sandbox.

    ``routes`` and ``mtu`` are those of the network configuration, ``sequence`` is the order of the
    ADDs. ``pod`` is the pod where the port's label names its virtual machine instead.
    """

    addresses: tuple[Interface, ...]
    mac: str
    switch: str
    default_route: bool
    routes: tuple[tuple[str, str], ...] = ()
    sequence: int = 0
    mtu: int = 0
    pod: str = ""

    @classmethod
    def of(cls, allocation: Allocation, attachment: Attachment | None = None) -> Self:
        """Return what is fixed of an allocation, and of an attachment."""
        return cls(
            allocation.addresses,
            allocation.mac,
            allocation.logical_switch if _NAME.fullmatch(allocation.logical_switch) else "",
            allocation.default_route,
            *(_of_attachment(attachment) if attachment else ()),
        )

    def encode(self) -> str:
        """Return the values as compact JSON."""
        values = {
            "ip": [str(each) for each in self.addresses],
            "mac": self.mac,
            "switch": self.switch,
            "default": self.default_route,
            "routes": self.routes,
            "seq": self.sequence,
            **({"mtu": self.mtu} if self.mtu else {}),
            **({"pod": self.pod} if self.pod else {}),
        }
        return json.dumps(values, separators=(",", ":"), sort_keys=True)

    def annotations(self, provider: str) -> dict[str, str]:
        """Return the values as the annotations that would fix them."""
        values = {
            "ip_address": ",".join(str(each.ip) for each in self.addresses),
            "cidr": ",".join(str(each.network) for each in self.addresses),
            "mac_address": self.mac,
            "logical_switch": self.switch,
            "default_route": str(self.default_route).lower(),
        }
        return {key(provider, name): value for name, value in values.items()}


class Found(NamedTuple):
    """An attachment that a mark on the node shows.

    ``ours`` is False for one that kube-ovn-cni made. ``fixed`` is None where no label has it.
    """

    attachment: Attachment
    ours: bool
    fixed: Fixed | None = None


def decode(text: str) -> Fixed | None:
    """Return the values of a label, or None if it is not one of ours."""
    try:
        values = json.loads(text)
        routes = tuple(
            (str(ip_network(str(to))), str(ip_address(str(via)))) for to, via in values["routes"]
        )
        return Fixed(
            tuple(ip_interface(str(each)) for each in values["ip"]),
            str(values["mac"]),
            str(values["switch"]),
            bool(values["default"]),
            routes,
            int(values["seq"]),
            int(values.get("mtu", 0)),
            str(values.get("pod", "")),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def restored(
    fixed: Fixed | None, now: Mapping[str, str], provider: str, ifname: str
) -> dict[str, str] | None:
    """Return the annotations of which the attachment was made, as far as they were edited since.

    Each value that still says the same keeps its present spelling. None means that nothing fixed
    was edited, or that nothing is known.
    """
    if fixed is None:
        return None
    present, kept = relevant(now, provider), keys(provider, FIXED)
    text = {name: value for name, value in present.items() if name not in kept}
    text |= fixed.annotations(provider)
    for name in kept:
        trial = {other: value for other, value in text.items() if other != name}
        if name in present:
            trial[name] = present[name]
        if _agrees(fixed, trial, provider, ifname):
            text = trial
    return None if text == present else text


def _of_attachment(each: Attachment) -> tuple[tuple[tuple[str, str], ...], int, int, str]:
    return each.routes, each.sequence, each.mtu, each.pod if each.machine else ""


def _agrees(fixed: Fixed, text: Mapping[str, str], provider: str, ifname: str) -> bool:
    try:
        return Fixed.of(parse(text, provider, ifname))[:4] == fixed[:4]
    except (Invalid, NotReady):
        return False
