"""The passes of provider networks: their status, by what the agents wrote to the Nodes."""

from datetime import UTC, datetime

from ovnlet.controller.context import ControllerContext
from ovnlet.core.ipam.claims import NodeClaim
from ovnlet.core.underlay import localnets
from ovnlet.core.underlay.localnets import Member
from ovnlet.core.underlay.networks import ProviderNetwork, Vlan


class Uplinks:
    """All provider networks, and what Subnets and Nodes have to do with them."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context

    async def network(self, name: str) -> None:
        """Write the status of a network if it changed. Raise ApiFault."""
        context = self._context
        network = context.provider_networks.get(("", name))
        if network is None or network.deleting:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        nodes = (Member(each.name, each.node_labels, each.uplinks) for each in context.nodes)
        status = localnets.status(network, context.vlans, nodes, network.status, now)
        if any(network.status.get(key) != value for key, value in status.items()):
            await context.writer.status(network, status)

    def changed(
        self, was: ProviderNetwork | Vlan | None, now: ProviderNetwork | Vlan | None
    ) -> None:
        """Request passes after a ProviderNetwork or a Vlan has changed, not for its status alone."""
        for each in (was, now):
            if isinstance(each, ProviderNetwork):
                self._context.add(("provider", "", each.name))
            elif each is not None:
                self._context.add(("provider", "", each.provider))
        if _facts(was) != _facts(now):
            for subnet in self._context.subnets:
                if subnet.spec.get("vlan"):
                    self._context.add(("subnet", "", subnet.name))

    def node_changed(self, was: NodeClaim | None, now: NodeClaim | None) -> None:
        """Request passes of all networks after labels or reports of a Node have changed."""
        before, after = ((each.node_labels, each.uplinks) if each else None for each in (was, now))
        if before != after:
            for network in self._context.provider_networks:
                self._context.add(("provider", "", network.name))


def _facts(each: ProviderNetwork | Vlan | None) -> object:
    """Return what a Subnet depends on."""
    return each.deleting if isinstance(each, ProviderNetwork) else each
