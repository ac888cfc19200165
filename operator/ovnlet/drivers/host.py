"""The hosts of ports: observe the kernel and OVSDB together, and send each step to its driver."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal, Protocol

from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Node, NodeInterface, PortIdentity
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import (
    ABSENT,
    DuplicateIfaceId,
    HtbQdisc,
    Key,
    Network,
    Nic,
    OvsPolicing,
    OvsQos,
    PoliceFilter,
    Port,
    Resource,
    Veth,
)
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.links.pairs import Pairs
from ovnlet.drivers.links.seamless import seamless
from ovnlet.drivers.links.traffic_control import is_in_force
from ovnlet.drivers.links.veths import index_of
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.turns import Turns
from ovnlet.reconcile.interruptible import interruptible
from ovnlet.reconcile.stages import Clock, untimed

# Seconds. ovs-vswitchd makes an internal port's link within milliseconds, if it runs.
_LINK_TIMEOUT = 2.0
# OVSDB is reconnected within a second; a DEL must be answered within five.
_CONNECT_TIMEOUT = 3.0


class Links(Protocol):
    """The kernel's side of an identity. ``links.pod`` and ``links.node`` implement it."""

    pairs: Pairs

    def observe(self, identity: Any, desired: Network, /) -> Network:
        """Return all that is ours of this identity in the kernel. Raise Taken."""
        ...

    async def apply(self, identity: Any, steps: Sequence[Step], /) -> None:
        """Carry out the steps in their order. Raise NotReady or NodeFault."""
        ...


class PortHost:
    """Implements ``reconcile.scope.Host`` for identities that have a port of br-int."""

    def __init__(self, links: Links, ovs: Ovs, state: NodeState, clock: Clock = untimed) -> None:
        self._links, self._ovs, self._state, self._clock = links, ovs, state, clock
        self._turns = Turns()

    @property
    def node(self) -> Node:
        """The facts of this node."""
        return self._state.facts

    async def ready(self) -> None:
        """Wait up to three seconds for OVSDB, from which the desired network follows too.

        Raise NotReady without it.
        """
        if not self._ovs.is_connected:
            async with interruptible():
                await self._ovs.ready_within(_CONNECT_TIMEOUT)

    async def observe(self, identity: PortIdentity, desired: Network) -> Network:
        """Return all that is ours of this identity, and nothing else. Raise NotReady or Taken."""
        await self._turns.take(identity.key)
        kernel = self._links.observe(identity, desired)
        linked = {resource.host for resource in kernel if isinstance(resource, Veth)}
        linked |= {resource.name for resource in kernel if isinstance(resource, Nic)}
        rows = self._ovs.observe(identity, desired)
        ports = [row for row in rows if isinstance(row, Port)]
        known: dict[Key, Port] = {port.key: self._orphaned(port, linked) for port in ports}
        return _on_ports(kernel, desired, known) | frozenset(_of_port(row, known) for row in rows)

    async def apply(self, identity: PortIdentity, plan: Plan) -> None:
        """Carry out the steps in runs of one driver each. Raise NotReady or NodeFault."""
        plan = seamless(plan)
        runs = [(kind, tuple(steps)) for kind, steps in groupby(plan, key=_driver)]
        if [kind for kind, _ in runs] == ["rows", "links"] and _is_free(plan):
            await self._rows_then_links(identity, runs[0][1], runs[1][1])
            return
        for kind, steps in runs:
            if kind == "links":
                await self._drive_links(identity, steps)
            elif kind == "rows":
                with self._clock("ovsdb"):
                    await self._ovs.writer.apply(steps)
            else:
                await self._enforce(steps)

    async def _rows_then_links(
        self, identity: PortIdentity, rows: Sequence[Step], links: Sequence[Step]
    ) -> None:
        """Make the links once the transaction with the rows is sent, and wait for its answer.

        The daemons see the row first: a link that is there before its row costs ovs-vswitchd one
        more reconfiguration. In a burst the first that is about to make its link sends the rows of
        all that have looked, and then makes the links of all whose rows are sent.
        """
        with self._clock("ovsdb"):
            writing = await self._ovs.writer.begin(rows)
            with self._links.pairs.joined(identity, links, lambda: writing.is_sent):
                try:
                    await self._turns.take(identity.key, last=True)
                    await writing.sent()
                except BaseException:
                    writing.withdraw()
                    raise
                try:
                    await self._drive_links(identity, links)
                finally:
                    await writing.committed()

    async def installed(self, identity: PortIdentity) -> None:
        """Wait without a bound until ovs-vswitchd has the port and ovn-controller its flows."""
        await self._ovs.plugged_and_installed(identity.host_link)

    def _orphaned(self, row: Port, linked: set[str]) -> Port:
        """Mark a row that outlived its link: a new link would get its `ovn-installed` or socket."""
        stale = row.name not in linked and (
            self._ovs.is_installed(row.name) or self._ovs.is_plugged(row.name)
        )
        return replace(row, orphaned=True) if stale else row

    async def _drive_links(self, identity: PortIdentity, steps: Sequence[Step]) -> None:
        if not self._turns.has(identity.key):
            await self._turns.take(identity.key)
        with self._clock("kernel"):
            await self._made(steps)
            await self._links.apply(identity, steps)

    async def _made(self, steps: Sequence[Step]) -> None:
        """Wait until ovs-vswitchd has made an internal port's link. Raise NotReady after 2 s."""
        for step in steps:
            if step.verb is Verb.ENSURE and isinstance(step.resource, Nic) and step.was is None:
                name = step.resource.name
                try:
                    async with asyncio.timeout(_LINK_TIMEOUT):
                        await self._ovs.plugged(name)
                except TimeoutError:
                    raise NotReady(
                        f"ovs-vswitchd has not made {name} for {_LINK_TIMEOUT:g} s"
                    ) from None

    async def _enforce(self, steps: Sequence[Step]) -> None:
        """Make ovs-vswitchd apply missing limits: it applies a row once, and never checks."""
        ensured = (step.resource for step in steps if step.verb is Verb.ENSURE)
        wanted = [each for each in ensured if isinstance(each, HtbQdisc | PoliceFilter)]
        if wanted:
            await self._ovs.caught_up()
        for each in wanted:
            if is_in_force(each):
                continue
            if isinstance(each, HtbQdisc):
                await self._ovs.reapply.qdisc(each.host)
            else:
                await self._police(each)

    async def _police(self, policer: PoliceFilter) -> None:
        """Make ovs-vswitchd apply the filter. Raise NotReady where it does not.

        The kernel may have the action and ovs-vswitchd still make no filter. Then the next pass
        shapes inside the pod alone. A link that went or was replaced meanwhile proves nothing.
        """
        before = index_of(policer.host)
        await self._ovs.reapply.filter(policer.host)
        if not is_in_force(policer):
            if before and before == index_of(policer.host):
                self._state.give_up_policing(policer.host)
            raise NotReady(
                f"ovs-vswitchd makes no filter on {policer.host} of its ingress_policing_rate"
            )


class NodeHost(PortHost):
    """The host of the node's own interface, beside the node's other links."""

    def __init__(
        self,
        links: NodeLinks,
        ovs: Ovs,
        state: NodeState,
        own: NodeInterface,
        clock: Clock = untimed,
    ) -> None:
        super().__init__(links, ovs, state, clock)
        self._node_links, self._own = links, own

    @property
    def prefixes(self) -> frozenset[HostPrefix]:
        """Return the prefixes of the node's other links, as they are. Raise NodeFault."""
        return self._node_links.prefixes(self._own)


def _on_ports(kernel: Network, desired: Network, known: Mapping[Key, Port]) -> Network:
    """Put an internal link within its port, or leave it out: ovs-vswitchd removes it then."""
    nic = next((resource for resource in kernel if isinstance(resource, Nic)), None)
    if nic is None:
        return kernel
    ports = [key for key, port in known.items() if port.name == nic.name]
    if not ports and not desired:
        return ABSENT
    return kernel - {nic} | {replace(nic, port=known[ports[0]].key if ports else nic.port)}


def _of_port(row: Resource, known: Mapping[Key, Port]) -> Resource:
    """Return a row as judged with its link; limits get the key of their port."""
    if isinstance(row, OvsQos | OvsPolicing):
        return replace(row, port=known[row.port].key) if row.port in known else row
    return known[row.key] if isinstance(row, Port) else row


def _driver(step: Step) -> Literal["rows", "links", "switch"]:
    """Return which driver carries out a step; "switch" is ovs-vswitchd itself."""
    if isinstance(step.resource, Port | DuplicateIfaceId | OvsQos | OvsPolicing):
        return "rows"
    return "switch" if isinstance(step.resource, HtbQdisc | PoliceFilter) else "links"


def _is_free(plan: Plan) -> bool:
    """Return whether the links of a plan need not wait for the answer about its rows.

    A removal's do: ovn-controller (25.03) hangs where one transaction removes an interface and
    inserts another with its iface-id, as DEL and ADD of a pod's two sandboxes would.
    """
    return all(step.verb is Verb.ENSURE for step in plan)
