"""A node twice: the strict one in memory and a real one, to which the same things happen.

Foreign hands go through the methods of ``StrictKernel`` and ``StrictNode``; here each of them also moves
iproute2, a sysctl or ovs-vsctl, and the refusals of both must agree.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

import pytest

from integration.node.ovs.vswitch import PrivateSwitch
from integration.node.spaces import Bed, Space
from kit.strict_kernel import StrictKernel
from kit.strict_links import (
    KERNEL,
    NODE,
    POD,
    STATIC,
    Entry,
    Held,
    Link,
    Refused,
    usual_metric,
)
from kit.strict_node import StrictNode
from kit.strict_rows import Row
from ovnlet.core.identity import Attachment
from ovnlet.core.resources.ovs import MARK

Facts = frozenset[tuple[object, ...]]
INSTALLED = "ovn-installed"
_BRIDGES = ("br-int", "br-ext")
_PROTOCOLS = {"kernel": KERNEL, "static": STATIC}


class TwinKernel(StrictKernel):
    """``live`` is off while the steps of a plan are made: those reach the real node through its drivers."""

    def __init__(self, bed: Bed) -> None:
        super().__init__()
        self.bed, self.live = bed, True

    def space(self, netns: str) -> Space:
        return {NODE: self.bed.node, POD: self.bed.pod}[netns]

    @contextmanager
    def both(self, netns: str, *words: str) -> Iterator[None]:
        """The fake's word inside the block; the kernel must say the same to these words."""
        refused: Refused | None = None
        try:
            yield
        except Refused as error:
            refused = error
        if self.live:
            done = _ip(self.space(netns), *words)
            assert (done.returncode != 0) == (refused is not None), (
                f"{words}: {refused}, kernel: {done.stderr}"
            )
        if refused:
            raise refused

    def add_single(self, netns: str, name: str) -> None:
        with self.both(netns, "link", "add", name, "mtu", "1500", "type", "bridge"):
            super().add_single(netns, name)

    def delete(self, link: Link) -> None:
        with self.both(link.netns, "link", "del", link.name):
            super().delete(link)

    def rename(self, link: Link, name: str) -> None:
        with self.both(link.netns, "link", "set", link.name, "name", name):
            super().rename(link, name)

    def set_up(self, link: Link) -> None:
        with self.both(link.netns, "link", "set", link.name, "up"):
            super().set_up(link)

    def set_down(self, link: Link) -> None:
        with self.both(link.netns, "link", "set", link.name, "down"):
            super().set_down(link)

    def set_mtu(self, link: Link, mtu: int) -> None:
        with self.both(link.netns, "link", "set", link.name, "mtu", str(mtu)):
            super().set_mtu(link, mtu)

    def set_mac(self, link: Link, mac: str) -> None:
        with self.both(link.netns, "link", "set", link.name, "address", mac):
            super().set_mac(link, mac)

    def set_alias(self, link: Link, alias: str) -> None:
        with self.both(link.netns, "link", "set", link.name, "alias", alias):
            super().set_alias(link, alias)

    def set_tx_checksum(self, link: Link, on: bool) -> None:
        super().set_tx_checksum(link, on)
        if self.live:
            enter = ["nsenter", f"--net={self.space(link.netns).path}"]
            subprocess.run(
                [*enter, "ethtool", "-K", link.name, "tx", "on" if on else "off"], check=True
            )

    def set_setting(self, link: Link, name: str, value: str) -> None:
        where = f"ipv6/conf/{link.name}/{name}"
        try:
            super().set_setting(link, name, value)
        except Refused:
            if self.live:
                with pytest.raises(FileNotFoundError):
                    self.space(link.netns).set(where, value)
            raise
        if self.live:
            self.space(link.netns).set(where, value)

    def add_address(
        self,
        link: Link,
        ip: IPv4Interface | IPv6Interface,
        *,
        noprefixroute: bool,
        protocol: int = 0,
    ) -> None:
        flags = ["noprefixroute"] if noprefixroute else []
        flags += ["nodad"] if ip.version == 6 else []
        flags += ["proto", str(protocol)] if protocol else []
        with self.both(link.netns, "addr", "add", str(ip), "dev", link.name, *flags):
            super().add_address(link, ip, noprefixroute=noprefixroute, protocol=protocol)

    def delete_address(self, link: Link, ip: IPv4Interface | IPv6Interface) -> None:
        with self.both(link.netns, "addr", "del", str(ip), "dev", link.name):
            super().delete_address(link, ip)

    def add_route(self, link: Link, entry: Entry) -> None:
        with self.both(link.netns, *_route("prepend", link, entry)):
            super().add_route(link, entry)

    def delete_route(self, link: Link, entry: Entry) -> None:
        with self.both(link.netns, *_route("del", link, entry)):
            super().delete_route(link, entry)


class TwinNode(StrictNode):
    """Rows of a real ovsdb-server too."""

    def __init__(self, attachment: Attachment, bed: Bed, switch: PrivateSwitch) -> None:
        super().__init__(attachment)
        self.twin = TwinKernel(bed)
        self.kernel = self.twin
        self._switch = switch
        self._said: dict[int, bool] = {}

    def add_row(self, row: Row) -> Row:
        added = super().add_row(row)
        if self.twin.live:
            labels = [
                f"external_ids:{key}={_quoted(value)}" for key, value in row.external_ids.items()
            ]
            mark = (
                ["--", "set", "Port", row.name, f"external_ids:{MARK}={_quoted(row.mark)}"]
                if row.mark
                else []
            )
            interface = ["--", "set", "Interface", row.name, *labels] if labels else []
            self._switch.vsctl("add-port", row.bridge, row.name, *interface, *mark)
        return added

    def delete_row(self, row: Row) -> None:
        super().delete_row(row)
        self._switch.vsctl("del-port", row.name)

    def label(self, row: Row, name: str, value: str | None) -> None:
        super().label(row, name, value)
        self._switch.vsctl("remove", "Interface", row.name, "external_ids", name)
        if value is not None:
            self._switch.vsctl(
                "set", "Interface", row.name, f"external_ids:{name}={_quoted(value)}"
            )

    def unmark(self, row: Row) -> None:
        super().unmark(row)
        self._switch.vsctl("remove", "Port", row.name, "external_ids", MARK)

    def speak_for_ovn(self) -> None:
        """No ovn-controller runs here: its word is put into the rows."""
        for row in self.rows.values():
            said = row.installed is not None
            if said != self._said.get(row.born, False):
                self._said[row.born] = said
                words = (
                    ["set", f"external_ids:{INSTALLED}=true"]
                    if said
                    else ["remove", "external_ids", INSTALLED]
                )
                self._switch.vsctl(words[0], "Interface", row.name, *words[1:])

    def told(self) -> Facts:
        """What the fake says there is, without what only it can know."""
        facts = {
            fact
            for fact in self.inventory()
            if fact[0] not in {"link", "row", "setting", "qdisc", "plug"}
        }
        for link in self.kernel:
            if link.peer:
                facts.add(("link", link.netns, link.name, link.mtu, link.up, link.alias))
            facts |= {
                ("setting", POD, link.name, *each)
                for each in link.settings.items()
                if link.netns == POD
            }
        facts |= {("row", row.bridge, row.name, row.mark) for row in self.rows.values()}
        return frozenset(facts)

    def seen(self) -> Facts:
        """What a foreign observer finds on the real node."""
        facts: set[tuple[object, ...]] = set()
        for netns in (NODE, POD):
            facts |= set(_links(netns, self.twin.space(netns)))
        for link in self.kernel:
            if link.netns == POD:
                facts |= set(_settings(link, self.twin.bed.pod))
        facts |= set(_routes(self.twin.bed.pod))
        return frozenset(facts | set(self._rows()))

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for bridge in _BRIDGES:
            for name in self._switch.vsctl("list-ports", bridge).split():
                labels = self._switch.ids(name)
                labels.pop(INSTALLED, None)
                mark = self._switch.vsctl(
                    "--if-exists", "get", "Port", name, f"external_ids:{MARK}"
                ).strip('"')
                yield "row", bridge, name, mark or None
                yield from (("external_id", name, *each) for each in labels.items())

    def clean(self) -> None:
        """Back to bare namespaces and bridges."""
        for netns in (NODE, POD):
            for each in self.twin.space(netns).links():
                _ip(self.twin.space(netns), "link", "del", each)
        for bridge in _BRIDGES:
            for name in self._switch.vsctl("list-ports", bridge).split():
                self._switch.vsctl("del-port", name)


def _links(netns: str, space: Space) -> Iterator[tuple[object, ...]]:
    for each in space.json("addr"):
        name = each["ifname"]
        if each.get("linkinfo", {}).get("info_kind") == "veth":
            yield "link", netns, name, each["mtu"], "UP" in each["flags"], each.get("ifalias", "")
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


def _settings(link: Link, pod: Space) -> Iterator[tuple[object, ...]]:
    for name in ("disable_ipv6", "accept_ra"):
        with suppress(FileNotFoundError):
            yield "setting", POD, link.name, name, pod.setting(f"ipv6/conf/{link.name}/{name}")


def _routes(pod: Space) -> Iterator[tuple[object, ...]]:
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


def _route(verb: str, link: Link, entry: Entry) -> tuple[str, ...]:
    via = ["via", str(entry.via)] if entry.via else []
    source = ["src", str(entry.source)] if entry.source else []
    metric = ["metric", str(entry.metric)] if entry.metric else []
    protocol = ["proto", str(entry.protocol)]
    family = f"-{entry.destination.version}"
    return (
        family,
        "route",
        verb,
        str(entry.destination),
        *via,
        "dev",
        link.name,
        *protocol,
        *source,
        *metric,
    )


def _ip(space: Space, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "-n", space.name, *words], check=False, capture_output=True, text=True, timeout=20
    )


def _quoted(value: str | None) -> str:
    return f'"{value}"'
