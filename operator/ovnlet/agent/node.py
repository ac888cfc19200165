"""The node's own Node and the Subnets as the API server has them, and the writes to its Node."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ovnlet.agent.supervisor import Part
from ovnlet.core.chassis import declared_tunnel
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import Reach
from ovnlet.core.settings import Settings
from ovnlet.kube import objects, subnets
from ovnlet.kube.chassis_name import ChassisName
from ovnlet.kube.condition import Condition
from ovnlet.kube.events import Recorder
from ovnlet.kube.object_store import Kind, Store
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access

# Seconds. A restart of ovs-vswitchd is shorter, and must not put a taint on the Node.
LASTING = 3.0


@dataclass(frozen=True, slots=True)
class Subscriber:
    """The callbacks for changes of the Node and of the Subnets.

    ``annotated`` gets the Node's annotations, ``reached`` the prefixes that the cluster's router
    reaches, once all Subnets are known, and ``edited`` the name of a Subnet whose facts changed.
    ``tunnel`` gets the addresses that the Node declares for its tunnels.
    ``seen`` gets the Node itself.
    """

    annotated: Callable[[Mapping[str, str]], None]
    reached: Callable[[Reach], None]
    edited: Callable[[str], None]
    tunnel: Callable[[tuple[str, ...]], None]
    seen: Callable[[OwnNode], None] = lambda _: None


class ClusterView:
    """Follows the Node and all Subnets."""

    def __init__(self, settings: Settings, access: Access, recorder: Recorder) -> None:
        self._name, self._set_prefixes = settings.node_name, settings.clusters
        self._router, self._settings = settings.cluster_router, settings
        self._recorder = recorder
        self._subscriber: Subscriber | None = None
        self._condition = Condition(access, self._name, self._refused)
        self._chassis_name = ChassisName(access, self._name, self._refused)
        self.reachable = Reachability(self._condition)
        kind = Kind("", "v1", "nodes", f"metadata.name={self._name}")
        self.node = Store(kind, objects.own_node, self._node_changed)
        self.subnets = Store(objects.SUBNETS, objects.subnet, self._subnet_changed)
        self.relists: list[Relist[Any]] = [
            Relist(access, self.node),
            Relist(access, self.subnets),
        ]

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with every change from now on."""
        self._subscriber = subscriber

    def parts(self) -> list[Part]:
        """Return what runs until it is cancelled."""
        return [
            Part("Node condition", self._condition.run),
            Part("Node annotation", self._chassis_name.run),
            Part("prefixes", self._all_subnets),
        ]

    def known_as(self, system_id: str) -> None:
        """Write this node's chassis name to the Node, where the cluster's controller reads it."""
        self._chassis_name.want(system_id)

    def own_node(self) -> OwnNode | None:
        """Return the Node, None while it is not known."""
        return self.node.get(("", self._name))

    def facts(self, subnet: str) -> Mapping[str, str] | None:
        """Return what pods follow of a Subnet, as text; None where there is no such Subnet."""
        return subnets.facts(self.subnets.get(("", subnet)))

    def lacks(self, subnet: str) -> bool:
        """Return whether all Subnets are known and none has this name."""
        return self.subnets.complete.is_set() and self.subnets.get(("", subnet)) is None

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
            self._recorder.record(node, "Warning", "NodePatchRefused", why)

    def _node_changed(self, _: OwnNode | None, node: OwnNode | None) -> None:
        self._condition.seen(node)
        self._chassis_name.seen(node)
        if node is not None and self._subscriber is not None:
            self._subscriber.annotated(node.annotations)
            self._subscriber.seen(node)
            declared = declared_tunnel(self._settings, node.annotations, node.internal)
            self._subscriber.tunnel(declared)

    def _subnet_changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        edited = now is not None and subnets.facts(was) != subnets.facts(now)
        if edited and now is not None and self._subscriber is not None:
            self._subscriber.edited(now.name)
        if self.subnets.complete.is_set():
            self._reach()

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

    def up(self, message: str) -> None:
        """Report that the node's own interface works."""
        if self._failing is not None:
            self._failing.cancel()
            self._failing = None
        self._condition.report(True, message)

    def down(self, why: str) -> None:
        """Report that it does not work, unless ``up`` is called within three seconds."""
        if self._failing is None:
            loop = asyncio.get_running_loop()
            self._failing = loop.call_later(LASTING, self._condition.report, False, why)
