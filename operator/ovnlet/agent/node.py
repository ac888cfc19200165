"""The node's own Node and the Subnets as the API server has them, and the writes to its Node."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ovnlet.agent.supervisor import Part
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import Reach
from ovnlet.core.settings import Settings
from ovnlet.kube import gateway, objects, subnets
from ovnlet.kube.chassis_name import ChassisName
from ovnlet.kube.condition import Condition
from ovnlet.kube.events import Recorder
from ovnlet.kube.ip_objects import IpObjects
from ovnlet.kube.object_store import Store
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.relist import Relist
from ovnlet.kube.service_addresses import ServiceAddresses, service_addresses
from ovnlet.kube.services import SERVICES
from ovnlet.kube.session import Access

# Seconds. A restart of ovs-vswitchd is shorter, and must not put a taint on the Node.
LASTING = 3.0
# Seconds between the first change of the cluster and the gateway's look at all of it.
SOON = 0.05


@dataclass(frozen=True, slots=True)
class Subscriber:
    """The callbacks for changes of the Node and of the Subnets.

    ``annotated`` gets the Node's annotations and the addresses as which it speaks to pods, none
    where that is the address of its interface; ``reached`` the prefixes that the cluster's router
    reaches, once all Subnets are known; ``gateway`` the texts of ``core.gateway``, once Subnets,
    Nodes and Services are; ``edited`` the name of a Subnet whose facts changed; and each of
    ``seen`` the Node itself.
    """

    annotated: Callable[[Mapping[str, str], tuple[str, ...]], None]
    reached: Callable[[Reach], None]
    gateway: Callable[[Mapping[str, str]], None]
    edited: Callable[[str], None]
    seen: tuple[Callable[[OwnNode], None], ...] = ()


class ClusterView:
    """Follows the Node and all Subnets. ``recorder`` sends Events about them."""

    def __init__(self, settings: Settings, access: Access, recorder: Recorder) -> None:
        self._name, self._set_prefixes = settings.node_name, settings.clusters
        self._router, self._settings = settings.cluster_router, settings
        self.recorder = recorder
        self._subscriber: Subscriber | None = None
        self._condition = Condition(access, self._name, self._refused)
        self._chassis_name = ChassisName(access, self._name, self._refused)
        self.reachable = Reachability(self._condition)
        self.ip_objects = IpObjects(access, self._name) if settings.kube_ovn_socket else None
        self.nodes = Store(objects.NODES, self._read_node, self._node_changed)
        self.subnets = Store(objects.SUBNETS, objects.subnet, self._subnet_changed)
        self.services = Store(SERVICES, service_addresses, self._service_changed)
        self.relists: list[Relist[Any]] = [
            Relist(access, self.nodes),
            Relist(access, self.subnets),
            Relist(access, self.services),
        ]
        self._due: asyncio.Handle | None = None

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with every change from now on."""
        self._subscriber = subscriber

    def parts(self) -> list[Part]:
        """Return what runs until it is cancelled."""
        ip_objects = [self.ip_objects] if self.ip_objects else []
        return [
            *(Part("IP objects", each.run) for each in ip_objects),
            Part("Node condition", self._condition.run),
            Part("Node annotation", self._chassis_name.run),
            Part("prefixes", self._all_subnets),
            Part("gateway", self._all_known),
        ]

    def known_as(self, system_id: str) -> None:
        """Write this node's chassis name to the Node, where the cluster's controller reads it."""
        self._chassis_name.want(system_id)

    def attached(self, port: str, subnet: str) -> None:
        """Write this node to Kube-OVN's object of the port, in kube-ovn-cni's place."""
        if self.ip_objects is not None:
            self.ip_objects.attached(port, subnet)

    def own_node(self) -> OwnNode | None:
        """Return the Node, None while it is not known."""
        return self.nodes.get(("", self._name))

    def facts(self, subnet: str) -> Mapping[str, str] | None:
        """Return what pods follow of a Subnet, as text; None where there is no such Subnet."""
        return subnets.facts(self.subnets.get(("", subnet)))

    def lacks(self, subnet: str) -> bool:
        """Return whether all Subnets are known and none has this name."""
        return self.subnets.complete.is_set() and self.subnets.get(("", subnet)) is None

    def is_underlay(self, subnet: str) -> bool:
        """Return whether the gateway of a known Subnet is a router of a physical network."""
        found = self.subnets.get(("", subnet))
        return found is not None and subnets.is_underlay(found.spec)

    def vlan_of(self, subnet: str) -> str:
        """Return the Vlan whose MTU the pods of a known Subnet have; empty for no Vlan.

        With ``u2oInterconnection`` they have the overlay's.
        """
        found = self.subnets.get(("", subnet))
        if found is None or not subnets.is_underlay(found.spec):
            return ""
        return "" if found.spec.get("u2oInterconnection") else str(found.spec["vlan"])

    def serves(self, provider: str) -> bool:
        """Return whether a Subnet has this provider, or may have it while not all are known.

        A provider with a third part, such as `n1.default.ovn.net2`, is one of several interfaces
        in the network without it.
        """
        if not self.subnets.complete.is_set():
            return True
        known = {str(each.spec.get("provider") or "ovn") for each in self.subnets}
        return provider in known or provider.rpartition(".")[0] in known

    def _refused(self, why: str) -> None:
        """Make an Event on the Node of a patch that the API server refuses: a right is missing."""
        if (node := self.own_node()) is not None:
            self.recorder.record(node, "Warning", "NodePatchRefused", why)

    def _read_node(self, body: Mapping[str, Any]) -> OwnNode:
        own = body["metadata"]["name"] == self._name
        return objects.own_node(body) if own else objects.other_node(body)

    def _node_changed(self, was: OwnNode | None, node: OwnNode | None) -> None:
        self._gateway_due()
        seen = node or was
        if seen is None or seen.name != self._name:
            return
        self._condition.seen(node)
        self._chassis_name.seen(node)
        if node is not None and self._subscriber is not None:
            speaks_as = node.internal if self._settings.chassis == "observe" else ()
            self._subscriber.annotated(node.annotations, speaks_as)
            for each in self._subscriber.seen:
                each(node)

    def _subnet_changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        edited = now is not None and subnets.facts(was) != subnets.facts(now)
        if edited and now is not None and self._subscriber is not None:
            self._subscriber.edited(now.name)
        if self.subnets.complete.is_set():
            self._reach()
        self._gateway_due()

    def _service_changed(self, _: ServiceAddresses | None, __: ServiceAddresses | None) -> None:
        self._gateway_due()

    async def _all_known(self) -> None:
        """Report the gateway's texts once all kinds are known: what is not known is not gone."""
        for store in (self.nodes, self.subnets, self.services):
            await store.complete.wait()
        self._gateway_due()

    def _gateway_due(self) -> None:
        """Report the gateway's texts soon: one event often follows another."""
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_later(SOON, self._report_gateway)

    def _report_gateway(self) -> None:
        self._due = None
        stores = (self.nodes, self.subnets, self.services)
        known = all(store.complete.is_set() for store in stores)
        if not known or self._subscriber is None or (own := self.own_node()) is None:
            return
        found = gateway.of_router(self.subnets, self._router)
        text = gateway.text(own, self.nodes, found, self.services)
        inside = filter(None, (text["inside"], *sorted(map(str, self._set_prefixes))))
        self._subscriber.gateway(text | {"inside": ",".join(inside)})

    async def _all_subnets(self) -> None:
        """Report prefixes once all Subnets are known: one that is not known yet is not deleted."""
        await self.subnets.complete.wait()
        self._reach()

    def _reach(self) -> None:
        found = subnets.reach(self.subnets, self._router)
        if self._subscriber is not None:
            self._subscriber.reached(replace(found, clusters=found.clusters | self._set_prefixes))


class Reachability:
    """The Node's condition NetworkUnavailable, which reports outages longer than three seconds."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self._failing: asyncio.TimerHandle | None = None

    def up(self, message: str, *, partly: bool = False) -> None:
        """Report that the node's own interface works, ``partly`` where routes could not be set."""
        if self._failing is not None:
            self._failing.cancel()
            self._failing = None
        self._condition.report(True, message, partly)

    def down(self, why: str) -> None:
        """Report that it does not work, unless ``up`` is called within three seconds."""
        if self._failing is None:
            loop = asyncio.get_running_loop()
            self._failing = loop.call_later(LASTING, self._condition.report, False, why)
