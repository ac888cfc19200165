"""The wiring of provider networks, and what of them concerns this node.

With the setting `underlay: off` there is none of it: no list, no watch, no connection.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from ovnlet.agent.node import ClusterView
from ovnlet.agent.reporting import Kind
from ovnlet.agent.supervisor import Part
from ovnlet.core.annotations import SUBNET_MTU
from ovnlet.core.errors import NodeFault
from ovnlet.core.settings import Settings
from ovnlet.core.underlay import networks
from ovnlet.core.underlay.networks import ProviderIdentity, ProviderNetwork, Vlan
from ovnlet.drivers.ovs.boot_unit import BootUnit
from ovnlet.drivers.ovs.uplink_rows import UplinkRows
from ovnlet.drivers.store.journal import Journal
from ovnlet.drivers.uplink_host import UplinkHost
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.kube.lease import Lease
from ovnlet.kube.object_store import Store
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.provider_networks import PROVIDER_NETWORKS, VLANS, Labels, ProviderLabels
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access, ApiFault
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.provider import ProviderScope
from ovnlet.reconcile.scopes.provider_reports import ProviderReports
from ovnlet.reconcile.status import Count, Record, Status

# Stands for the network of a Vlan that is not known: no network has a name with a blank.
_UNKNOWN = "not known"
# Seconds for the way back of a move that was not proved in time.
_WAY_BACK = 30.0
log = structlog.get_logger("underlay")


class LeasedTurn:
    """The right to move an uplink: a Lease that lasts longer than a move and its way back.

    So nobody renews it, and a node that ends amid its move delays the others no longer than that.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease, self._has = lease, False

    @classmethod
    def of(cls, settings: Settings, access: Access) -> "LeasedTurn":
        """Return the turn by the Lease of the settings."""
        namespace, _, name = (settings.underlay_lease or "").partition("/")
        seconds = 2 * settings.underlay_timeout + _WAY_BACK
        return cls(Lease(access, namespace, name, settings.node_name, seconds))

    async def taken(self) -> bool:
        """Take the Lease if it is free, and return whether this node has it."""
        try:
            self._has = await self._lease.take()
        except ApiFault as error:
            self._has = False
            log.warning("no turn to move an uplink", error=str(error))
        return self._has

    async def release(self) -> None:
        """Free the Lease, so that another node does not wait until it expires."""
        if self._has:
            self._has = False
            await self._lease.release()


class Underlay:
    """Follows ProviderNetworks and Vlans, and keeps the scope of those that want this node.

    ``edited`` gets each Subnet whose pods may have another MTU.
    """

    def __init__(
        self, settings: Settings, access: Access, loop: Loop, watch: Watch, cluster: ClusterView
    ) -> None:
        self._is_on = settings.underlay != "off"
        self._name, self._loop = settings.node_name, loop
        self._cluster = cluster
        self._own_node: OwnNode | None = None
        self._unreadable = False
        self._mtus: Mapping[str, int] = {}
        self.edited: Callable[[str], None] = lambda _: None
        self._networks = Store(PROVIDER_NETWORKS, networks.provider_network, self._changed)
        self._vlans = Store(VLANS, networks.vlan, self._changed)
        self.relists: list[Relist[Any]] = (
            [Relist(access, self._networks), Relist(access, self._vlans)] if self._is_on else []
        )
        self._labels = ProviderLabels(access, settings.node_name)
        self._rows = UplinkRows(settings.ovsdb, settings.bridge, self._hint)
        self._host = UplinkHost(self._rows, access.server, settings.sysctl_dir)
        self._journal = Journal(Path(settings.state_dir) / "uplinks")
        self._boot = BootUnit(settings.systemd_dir)
        self._watch, self._settings = watch, settings
        self._turn = LeasedTurn.of(settings, access) if settings.underlay_lease else None

    def make_scope(self, of_node: Record, count: Count) -> ProviderScope:
        """Make the scope, and return it. ``of_node`` reports on the Node."""
        status = Status("provider", of_node, count)

        def event(network: str, kind: Kind, reason: str, message: str) -> None:
            of_node(ProviderIdentity(network), kind, reason, message)
            if (subject := self._networks.get(("", network))) is not None:
                self._cluster.recorder.record(subject, kind, reason, message)

        self._reports = reports = ProviderReports(event, self._show, self._host.mtu)
        self.scope = ProviderScope(
            self._host,
            self._journal,
            self._loop.passes("provider"),
            status,
            reports,
            watch=self._watch,
            timeout=self._settings.underlay_timeout,
            repair=self._settings.repair,
            turn=self._turn,
        )
        return self.scope

    def load(self) -> None:
        """Read the records of moves, and begin the way back of what was not proved.

        It is done also where the setting is off: an uplink is never left between two states. While
        a record cannot be read, nothing is done at all: what the NIC had is in no other place.
        """
        try:
            self.scope.load()
        except NodeFault as error:
            self._unreadable = True
            log.warning("no provider network is looked at", error=str(error))
        self.restore()

    def restore(self) -> None:
        """Write what a reboot needs, or remove it where nothing moves and nothing has moved."""
        try:
            if self._settings.underlay == "manage" or self._unreadable or self.scope.held:
                if self._boot.write():
                    log.info("a reboot will find moved interfaces outside of their bridges")
            elif self._boot.remove():
                log.info("a reboot leaves interfaces in their bridges")
        except NodeFault as error:
            log.warning(str(error))

    def parts(self) -> list[Part]:
        """Return what runs until it is cancelled."""
        rows = Part("rows of uplinks", self._once_active(self._rows.run))
        if not self._is_on:
            return [rows]
        begins = [Part("uplinks", self.scope.run)] if self._settings.underlay == "manage" else []
        return [
            rows,
            *begins,
            Part("labels of provider networks", self._labels.run),
            Part("provider networks", self._all_known),
        ]

    def unjoined(self, network: str, subnet: str) -> str | None:
        """Return why a network may not be joined; None where a Subnet's pods do not need it.

        With ``logicalGateway`` their gateway is OVN's router.
        """
        if not self._cluster.is_underlay(subnet):
            return None
        found = self._reports.why(network) if self._is_on else ""
        return found or "no patch port: is it in ovn-bridge-mappings, and ovn-controller running?"

    def facts(self, subnet: str) -> Mapping[str, str] | None:
        """Return what pods follow of a Subnet, as text; None where that is not known.

        In a physical network it is the MTU of the node's interface, unless the Subnet has one. What
        is not known yet, or not any more, changes no running pod.
        """
        found = self._cluster.facts(subnet)
        network = self._network_of(subnet)
        if found is None or SUBNET_MTU in found or not network:
            return found
        mtu = self._reports.mtus.get(network)
        return {**found, SUBNET_MTU: str(mtu)} if mtu else None

    def _network_of(self, subnet: str) -> str:
        """Return the provider network of a Subnet; empty without one, or with the setting off."""
        if not self._is_on or not (name := self._cluster.vlan_of(subnet)):
            return ""
        vlan = self._vlans.get(("", name))
        return vlan.provider if vlan is not None else _UNKNOWN

    def _show(self, labels: Labels) -> None:
        """Show the labels, and ask for passes of the pods whose MTU may follow from them."""
        self._labels.want(labels)
        if self._reports.mtus != self._mtus:
            self._mtus = self._reports.mtus
            for subnet in self._cluster.subnets:
                if self._network_of(subnet.name):
                    self.edited(subnet.name)

    def seen(self, node: OwnNode) -> None:
        """Take the own Node: its labels select it, and show what was done."""
        self._own_node = node
        if self._is_on:
            self._labels.seen(node)
            self._report()

    def _once_active(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """Return what runs once there is a network for this node, or was one."""

        async def running() -> None:
            await self.scope.active.wait()
            await run()

        return running

    async def _all_known(self) -> None:
        """Report once all are known: what is not known yet is not gone."""
        for store in (self._networks, self._vlans):
            await store.complete.wait()
        self._report()

    def _changed(self, _: ProviderNetwork | Vlan | None, __: ProviderNetwork | Vlan | None) -> None:
        self._report()

    def _report(self) -> None:
        complete = self._networks.complete.is_set() and self._vlans.complete.is_set()
        if not complete or self._unreadable or (node := self._own_node) is None:
            return
        self.scope.put(
            networks.of_node(self._name, node.labels, self._networks, self._vlans, self.scope.held)
        )

    def _hint(self) -> None:
        for own in self.scope.every_key():
            self._loop.queue.hint(self._loop.passes("provider").key(own))
