"""Bridges of provider networks, their uplinks, and OVN's lists of them, in the node's OVSDB.

This driver has a connection of its own, opened only on a node that a provider network names. So a
node without one has no more rows in memory, and no more notifications, than without this driver.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from ovnlet.core.errors import NodeFault, NotReady, Unsafe
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import NetworkMapping, Resource, UplinkBridge, UplinkPort
from ovnlet.core.resources.underlay import CHASSIS_MACS, MAPPINGS
from ovnlet.drivers.ovs.uplink_operations import MARK, VENDOR, ops
from ovnlet.drivers.ovsdb.jsonrpc import Disconnected
from ovnlet.drivers.ovsdb.replica import Change, Replica, Row

_TABLES = {
    "Open_vSwitch": ("bridges", "external_ids"),
    "Bridge": ("name", "ports", "external_ids", "other_config", "datapath_type"),
    "Port": ("name", "interfaces", "trunks", "tag", "external_ids"),
    "Interface": ("name", "type", "ofport", "error"),
}
_LISTS = (MAPPINGS, CHASSIS_MACS)
# By it ovn-controller knows its patch ports, which go when the network's mapping goes.
_OF_OVN = "ovn-localnet-port"
# Seconds.
_CONNECT_TIMEOUT, _COMMIT_TIMEOUT, _JOIN_TIMEOUT = 3.0, 5.0, 5.0


class UplinkRows:
    """Observes and writes these rows. ``changed`` is called when one of them changes."""

    def __init__(self, remote: str, integration: str, changed: Callable[[], None]) -> None:
        self._integration, self._changed = integration, changed
        self._database = Replica(
            remote, "Open_vSwitch", _TABLES, changed=self._rows_changed, reloaded=changed
        )

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        await self._database.run()

    async def ready(self) -> None:
        """Wait up to three seconds for the rows. Raise NotReady without them."""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await self._database.connected.wait()
        except TimeoutError:
            raise NotReady(f"OVSDB: {self._database.fault}") from None

    @property
    def datapath_type(self) -> str:
        """The datapath type of the integration bridge, empty for the kernel's."""
        row = self._bridge(self._integration)
        return _datapath_type(row) if row else ""

    def chassis_mac(self, network: str) -> str:
        """Return the MAC of the network in OVN's list, empty where it has none."""
        return self._list(CHASSIS_MACS).get(network, "")

    def require_free(self, network: str, bridge: str, nic: str) -> None:
        """Raise Unsafe if another bridge has the NIC, or if the bridge is not for this network."""
        row = self._bridge(bridge)
        if bridge == self._integration:
            raise Unsafe(f"{bridge} is OVN's integration bridge")
        if row is not None and not _is_of(network, row):
            raise Unsafe(f"a bridge {bridge} exists that is not for this network")
        for each in self._rows("Bridge").values():
            names = {port["name"] for port in self._ports(each)}
            if nic in names and each["name"] != bridge:
                raise Unsafe(f"{nic} is a port of the bridge {each['name']}")

    def has_bridge(self, bridge: str) -> bool:
        """Return whether there is a bridge of this name."""
        return self._bridge(bridge) is not None

    def foreign_ports(self, bridge: str, nic: str) -> Collection[str]:
        """Return the bridge's ports that are neither the NIC, nor its own, nor OVN's."""
        row = self._bridge(bridge)
        return [
            port["name"]
            for port in (self._ports(row) if row else ())
            if port["name"] not in (bridge, nic) and _OF_OVN not in port["external_ids"]
        ]

    def observe(self, network: str, bridge: str, nic: str) -> Iterator[Resource]:
        """Yield the bridge if it is the network's, the NIC in it, and the entries of the lists."""
        for name in _LISTS:
            if (value := self._list(name).get(network)) is not None:
                yield NetworkMapping(name, network, value)
        row = self._bridge(bridge)
        if row is None or not _is_of(network, row):
            return
        mac = row["other_config"].get("hwaddr", "")
        yield UplinkBridge(bridge, row["external_ids"].get(MARK, ""), mac, _datapath_type(row))
        for port in self._ports(row):
            if port["name"] == nic:
                yield UplinkPort(bridge, nic, tuple(sorted(port["trunks"])), port["tag"])

    async def apply(self, steps: Sequence[Step]) -> None:
        """Commit the steps in one transaction, and wait for the new bridge, or the NIC in it.

        A bridge made again under its name has the link of the old one until ovs-vswitchd has seen
        both changes, so only its rows tell. Raise NotReady or NodeFault.
        """
        built = [op for step in steps for op in ops(step, self._database.rows)]
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT):
                await self._database.transact(built)
        except TimeoutError:
            raise NotReady("OVSDB does not answer") from None
        except Disconnected as error:
            raise NotReady(str(error)) from error
        for step in steps:
            if step.verb is Verb.ENSURE and isinstance(step.resource, UplinkPort):
                await self._joined(step.resource.bridge, step.resource.nic)
            if step.verb is Verb.ENSURE and isinstance(step.resource, UplinkBridge):
                await self._joined(step.resource.name, step.resource.name)

    async def _joined(self, bridge: str, link: str) -> None:
        """Wait until ovs-vswitchd has a link in its datapath. Raise NotReady or NodeFault."""
        end = asyncio.get_running_loop().time() + _JOIN_TIMEOUT
        while asyncio.get_running_loop().time() < end:
            for row in self._rows("Interface").values():
                if row["name"] == link and row["error"]:
                    raise NodeFault(f"{link} does not join {bridge}: {row['error']}")
                if row["name"] == link and (row["ofport"] or 0) > 0:
                    return
            await asyncio.sleep(0.01)
        raise NotReady(f"ovs-vswitchd does not add {link} to {bridge}")

    def _rows(self, table: str) -> dict[str, Row]:
        return self._database.rows[table]

    def _bridge(self, name: str) -> Row | None:
        return next((row for row in self._rows("Bridge").values() if row["name"] == name), None)

    def _ports(self, bridge: Row) -> Iterator[Row]:
        ports = self._rows("Port")
        yield from (ports[uuid] for uuid in bridge["ports"] if uuid in ports)

    def _list(self, name: str) -> dict[str, str]:
        root: Row = next(iter(self._rows("Open_vSwitch").values()), {"external_ids": {}})
        parts = (
            part.strip().partition(":") for part in root["external_ids"].get(name, "").split(",")
        )
        return {network: value for network, colon, value in parts if colon}

    def _rows_changed(self, changes: Sequence[Change]) -> None:
        if any(self._concerns(*change) for change in changes):
            self._changed()

    def _concerns(self, table: str, _: str, old: Row | None, new: Row | None) -> bool:
        """Return whether a change may concern a provider network; those of pods' ports do not."""
        rows = [row for row in (old, new) if row is not None]
        if table == "Open_vSwitch":
            lists = [[row["external_ids"].get(name) for name in _LISTS] for row in rows]
            return len(lists) == 1 or lists[0] != lists[1]
        if table == "Interface":
            return False
        return any(MARK in row["external_ids"] for row in rows)


def _is_of(network: str, bridge: Row) -> bool:
    """Return whether a bridge was made for the network, by this agent or by kube-ovn-cni."""
    ids: dict[str, Any] = bridge["external_ids"]
    return bool(ids[MARK] == network) if MARK in ids else ids.get("vendor") == VENDOR


def _datapath_type(row: Row) -> str:
    found = str(row["datapath_type"])
    return "" if found == "system" else found
