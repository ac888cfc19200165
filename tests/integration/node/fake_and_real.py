"""The strict node in memory and a real node, kept in step.

Foreign changes go through the methods of ``StrictKernel`` and ``StrictNode``; each of them also
runs iproute2, writes a sysctl or calls ovs-vsctl. Both nodes must refuse the same changes.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface

import pytest

from integration.node import real_state
from integration.node.ovs.vswitch import PrivateSwitch
from integration.node.spaces import Bed, Space
from kit.strict_kernel import StrictKernel
from kit.strict_links import (
    NODE,
    POD,
    Entry,
    Link,
    Refused,
)
from kit.strict_node import StrictNode
from kit.strict_rows import Row
from ovnlet.core.identity import Attachment
from ovnlet.core.resources.ovs import MARK

Facts = frozenset[tuple[object, ...]]
INSTALLED = "ovn-installed"
_BRIDGES = ("br-int", "br-ext")


class FakeAndRealKernel(StrictKernel):
    """A strict kernel that repeats each change on a real one while ``mirrors`` is true.

    It is false while a plan is applied: its steps reach the real node through the drivers.
    """

    def __init__(self, bed: Bed) -> None:
        super().__init__()
        self.bed, self.mirrors = bed, True

    def space(self, netns: str) -> Space:
        return {NODE: self.bed.node, POD: self.bed.pod}[netns]

    @contextmanager
    def both(self, netns: str, *words: str) -> Iterator[None]:
        """Run the block on the fake, and ``ip words`` in the real namespace.

        Fail unless both accept or both refuse.
        """
        refused: Refused | None = None
        try:
            yield
        except Refused as error:
            refused = error
        if self.mirrors:
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

    def set_arp(self, link: Link, on: bool) -> None:
        with self.both(link.netns, "link", "set", link.name, "arp", "on" if on else "off"):
            super().set_arp(link, on)

    def set_loopback(self, up: bool) -> None:
        with self.both(POD, "link", "set", "lo", "up" if up else "down"):
            super().set_loopback(up)

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
        if self.mirrors:
            enter = ["nsenter", f"--net={self.space(link.netns).path}"]
            subprocess.run(
                [*enter, "ethtool", "-K", link.name, "tx", "on" if on else "off"], check=True
            )

    def set_setting(self, link: Link, name: str, value: str) -> None:
        where = f"ipv6/conf/{link.name}/{name}"
        try:
            super().set_setting(link, name, value)
        except Refused:
            if self.mirrors:
                with pytest.raises(FileNotFoundError):
                    self.space(link.netns).set(where, value)
            raise
        if self.mirrors:
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


class FakeAndRealNode(StrictNode):
    """A strict node that repeats each change of a row in a real ovsdb-server."""

    def __init__(self, attachment: Attachment, bed: Bed, switch: PrivateSwitch) -> None:
        super().__init__(attachment)
        self.both_kernels = FakeAndRealKernel(bed)
        self.kernel = self.both_kernels
        self._switch = switch
        self._installed: dict[int, bool] = {}

    def add_row(self, row: Row) -> Row:
        added = super().add_row(row)
        if self.both_kernels.mirrors:
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

    def copy_ovn_installed(self) -> None:
        """Copy the fake's ovn-installed into the real rows: no ovn-controller runs here."""
        for row in self.rows.values():
            installed = row.installed is not None
            if installed != self._installed.get(row.serial, False):
                self._installed[row.serial] = installed
                words = (
                    ["set", f"external_ids:{INSTALLED}=true"]
                    if installed
                    else ["remove", "external_ids", INSTALLED]
                )
                self._switch.vsctl(words[0], "Interface", row.name, *words[1:])

    def fake_state(self) -> Facts:
        """Return the fake's state, without facts that only the fake knows."""
        facts = {
            fact
            for fact in self.inventory()
            if fact[0] not in {"link", "row", "setting", "qdisc", "plug"}
        }
        for link in self.kernel:
            if link.peer:
                facts.add(("link", link.netns, link.name, link.mtu, link.up, link.arp, link.alias))
            facts |= {
                ("setting", POD, link.name, *each)
                for each in link.settings.items()
                if link.netns == POD
            }
        facts |= {("row", row.bridge, row.name, row.mark) for row in self.rows.values()}
        return frozenset(facts)

    def real_state(self) -> Facts:
        """Return the real node's state, as iproute2 and ovs-vsctl show it."""
        facts: set[tuple[object, ...]] = set()
        for netns in (NODE, POD):
            facts |= set(real_state.links(netns, self.both_kernels.space(netns)))
        for link in self.kernel:
            if link.netns == POD:
                facts |= set(real_state.settings(link, self.both_kernels.bed.pod))
        facts |= set(real_state.routes(self.both_kernels.bed.pod))
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
        """Delete all links and ports on the real node."""
        for netns in (NODE, POD):
            for each in self.both_kernels.space(netns).links():
                _ip(self.both_kernels.space(netns), "link", "del", each)
        for bridge in _BRIDGES:
            for name in self._switch.vsctl("list-ports", bridge).split():
                self._switch.vsctl("del-port", name)


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
