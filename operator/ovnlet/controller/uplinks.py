"""The passes of provider networks: their status, by what the agents wrote to the Nodes."""

from collections.abc import Callable
from datetime import UTC, datetime

from ovnlet.controller.context import ControllerContext, Key, Objects
from ovnlet.core.ipam.claims import NodeClaim
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.underlay import localnets, networks
from ovnlet.core.underlay.localnets import Member
from ovnlet.core.underlay.networks import ProviderNetwork, Vlan
from ovnlet.kube.object_store import Store
from ovnlet.kube.provider_networks import PROVIDER_NETWORKS, VLANS


class Uplinks:
    """All ProviderNetworks and Vlans. ``add`` requests a pass."""

    def __init__(self, add: Callable[[Key], None], subnets: Objects[SubnetObject]) -> None:
        self._add, self._subnets = add, subnets
        self.networks = Store(PROVIDER_NETWORKS, networks.provider_network, self._network_changed)
        self.vlans = Store(VLANS, networks.vlan, self._vlan_changed)

    def add_all(self) -> None:
        """Request the passes of all networks."""
        for network in self.networks:
            self._add(("provider", "", network.name))

    async def network(self, name: str, context: ControllerContext) -> None:
        """Write the status of a network if it changed. Raise ApiFault."""
        network = self.networks.get(("", name))
        if network is None or network.deleting:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        nodes = (Member(each.name, each.node_labels, each.uplinks) for each in context.nodes)
        status = localnets.status(network, self.vlans, nodes, now)
        if any(network.status.get(key) != value for key, value in status.items()):
            await context.writer.status(network, status)

    def node_changed(self, was: NodeClaim | None, now: NodeClaim | None) -> None:
        """Request all passes after labels or reports of a Node have changed."""
        before, after = ((each.node_labels, each.uplinks) if each else None for each in (was, now))
        if before != after:
            self.add_all()

    def _network_changed(self, was: ProviderNetwork | None, now: ProviderNetwork | None) -> None:
        """Request its pass, and those of Subnets unless only its status has changed."""
        if (network := now or was) is not None:
            self._add(("provider", "", network.name))
        if (was and not was.deleting) != (now and not now.deleting):
            self._add_subnets()

    def _vlan_changed(self, was: Vlan | None, now: Vlan | None) -> None:
        for vlan in filter(None, (was, now)):
            self._add(("provider", "", vlan.provider))
        if was != now:
            self._add_subnets()

    def _add_subnets(self) -> None:
        for subnet in self._subnets:
            if subnet.spec.get("vlan"):
                self._add(("subnet", "", subnet.name))
