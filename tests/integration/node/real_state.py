"""Facts about a real pod's network from iproute2, in the form of ``StrictNode.inventory``."""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from integration.node.spaces import Space
from kit.strict_links import KERNEL, POD, STATIC, Entry, Held, Link, usual_metric

Fact = tuple[object, ...]
_PROTOCOLS = {"kernel": KERNEL, "static": STATIC}


def links(netns: str, space: Space) -> Iterator[Fact]:
    """Yield the veths of the namespace and, for the pod's, all global addresses."""
    for each in space.json("addr"):
        name = each["ifname"]
        if each.get("linkinfo", {}).get("info_kind") == "veth":
            flags, alias = each["flags"], each.get("ifalias", "")
            yield "link", netns, name, each["mtu"], "UP" in flags, "NOARP" not in flags, alias
        if netns == POD and name == "lo":
            yield "loopback", "UP" in each["flags"]
        for info in each["addr_info"] if netns == POD else ():
            if info["scope"] == "global":
                ip = ip_interface(f"{info['local']}/{info['prefixlen']}")
                flag, second = bool(info.get("noprefixroute")), bool(info.get("secondary"))
                yield (
                    "address",
                    netns,
                    name,
                    Held(ip, flag, second, int(info.get("protocol", "0"), 0)),
                )


def settings(link: Link, pod: Space) -> Iterator[Fact]:
    """Yield the IPv6 settings that the kernel has for this link."""
    for name in ("disable_ipv6", "accept_ra"):
        with suppress(FileNotFoundError):
            yield "setting", POD, link.name, name, pod.setting(f"ipv6/conf/{link.name}/{name}")


def routes(pod: Space) -> Iterator[Fact]:
    """Yield the routes of the main tables, without multicast and link-local ones."""
    for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for each in pod.json(family, "route"):
            destination = everything if each["dst"] == "default" else each["dst"]
            if not destination.startswith(("fe80", "ff00", "multicast")):
                yield "route", POD, each["dev"], _entry(destination, each)


def _entry(destination: str, each: dict[str, Any]) -> Entry:
    via, source = each.get("gateway"), each.get("prefsrc")
    protocol = _PROTOCOLS.get(each["protocol"]) or int(each["protocol"])
    prefix, metric = ip_network(destination), each.get("metric", 0)
    chosen = None if metric == usual_metric(prefix, protocol) else metric
    return Entry(
        prefix,
        ip_address(via) if via else None,
        ip_address(source) if source else None,
        protocol,
        chosen,
    )
