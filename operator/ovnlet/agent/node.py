"""The node's side of the cluster's network, wired: its interface, whom it hears of it from, and whom it tells."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.core.identity import NODE_NIC, Attachment
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.node_network import Reach
from ovnlet.core.resources import Address
from ovnlet.core.settings import Settings
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.kube import objects, subnets
from ovnlet.kube.chassis_name import ChassisName
from ovnlet.kube.condition import Condition
from ovnlet.kube.object_store import Kind, Store
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.reconcile.budget import RepairBackoff
from ovnlet.reconcile.loop import Host, Outcome
from ovnlet.reconcile.scopes.node import NodeNic

# OVN installs a port within milliseconds; one whose logical port is missing it never does.
INSTALLING = 1.0
# A restart of ovs-vswitchd is no outage worth a taint on the Node.
LASTING = 3.0


class NodeSide:
    """``again`` asks for a pass of the node's own interface, ``tell`` is given what became of one.

    ``edited`` is given the name of a Subnet whose pods have something to follow.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        settings: Settings,
        access: Access,
        host: Host,
        *,
        again: Callable[[], None],
        tell: Callable[[Outcome], None],
        edited: Callable[[str], None],
    ) -> None:
        name = settings.node_name
        self._host, self._again, self._tell, self._edited = host, again, tell, edited
        self._name, self._set_prefixes = name, settings.clusters
        self._attachment = Attachment.of_node(name)
        memory = JsonFile(Path(settings.run_dir) / "node.json")
        patience = RepairBackoff(lambda _: again())
        self.nic = NodeNic(
            host, memory, self._attachment, patience=patience, repair=settings.repair
        )
        self._condition = Condition(access, name)
        self._chassis_name = ChassisName(access, name)
        self._beside_kube_ovn = settings.chassis == "observe"
        self.node = Store(
            Kind("", "v1", "nodes", f"metadata.name={name}"), objects.own_node, self._node_changed
        )
        self.subnets = Store(objects.SUBNETS, objects.subnet, self._subnet_changed)
        self.listings: list[Relist[Any]] = [Relist(access, self.node), Relist(access, self.subnets)]
        self._failing: asyncio.TimerHandle | None = None
        if not self.nic.remembers:
            self.nic.reach(Reach(self._set_prefixes))

    def parts(self) -> list[Coroutine[None, None, None]]:
        return [self._condition.run(), self._chassis_name.run(), self._listed()]

    def is_chassis(self, system_id: str) -> None:
        """OVN knows this node by that name, and Kube-OVN's controller must."""
        if system_id and self._beside_kube_ovn:
            self._chassis_name.want(system_id)

    async def reconcile(self) -> Outcome | None:
        """One pass, and the Node's condition after it."""
        try:
            outcome = await self.nic.reconcile()
            if outcome is None:
                return None
            self._tell(outcome)
            if outcome.left:
                self._failed(
                    f"not repaired ({outcome.why_left}): {'; '.join(map(str, outcome.left))}"
                )
                return outcome
            await self._installed()
        except OvnletError as error:
            self._failed(str(error))
            raise
        self._well(outcome)
        return outcome

    async def _installed(self) -> None:
        try:
            async with asyncio.timeout(INSTALLING):
                await self._host.installed(self._attachment)
        except TimeoutError:
            raise NotReady(
                "OVN has not installed the node's port: is there a logical switch port of its name?"
            ) from None

    def _node_changed(self, _: OwnNode | None, node: OwnNode | None) -> None:
        self._condition.seen(node)
        self._chassis_name.seen(node)
        if node is not None and self.nic.put(node.annotations):
            self._again()

    @property
    def subject(self) -> OwnNode | None:
        """Whom Events about it are told of."""
        return self.node.get(("", self._name))

    def facts(self, subnet: str) -> Mapping[str, str] | None:
        return subnets.facts(self.subnets.get(("", subnet)))

    def _subnet_changed(self, was: SubnetObject | None, now: SubnetObject | None) -> None:
        if now is not None and subnets.facts(was) != subnets.facts(now):
            self._edited(now.name)
        if self.subnets.complete.is_set():
            self._reach()

    async def _listed(self) -> None:
        """What is remembered holds until all Subnets are known: one that is not known yet is not gone."""
        await self.subnets.complete.wait()
        self._reach()

    def _reach(self) -> None:
        found = subnets.reach(self.subnets)
        if self.nic.reach(replace(found, clusters=found.clusters | self._set_prefixes)):
            self._again()

    def _well(self, outcome: Outcome) -> None:
        if self._failing is not None:
            self._failing.cancel()
            self._failing = None
        addresses = sorted(
            str(each.ip.ip) for each in outcome.observed if isinstance(each, Address)
        )
        self._condition.tell(True, f"{NODE_NIC[1]} is up with {', '.join(addresses)}")

    def _failed(self, why: str) -> None:
        if self._failing is None:
            self._failing = asyncio.get_running_loop().call_later(
                LASTING, self._condition.tell, False, why
            )
