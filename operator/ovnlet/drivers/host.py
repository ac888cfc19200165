"""Ports and links of one identity: what the kernel and OVSDB show, and each step sent to its driver."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby
from typing import Any, Protocol

from ovnlet.core import ids
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment, Life, Node, PortIdentity
from ovnlet.core.node_network import NF_TABLES
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import (
    DuplicateIfaceId,
    HtbQdisc,
    Key,
    Masquerade,
    Network,
    Nic,
    OvsPolicing,
    OvsQos,
    PoliceFilter,
    Port,
    Resource,
    Veth,
)
from ovnlet.core.resources.qos import POLICE
from ovnlet.drivers.links.kernel_features import KernelFeatures
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.links.traffic_control import is_in_force
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.reconcile.stages import Clock, untimed

# Seconds. ovs-vswitchd makes an internal port's link within milliseconds, if it runs.
_LINK_TIMEOUT = 2.0
# OVSDB is asked for again within a second; a DEL must be answered within five.
_CONNECT_TIMEOUT = 3.0
_Drive = Callable[[Sequence[Step]], Coroutine[None, None, None]]


class Links(Protocol):
    """The kernel's side of an identity: ``links.pod`` and ``links.node`` implement it."""

    def observe(self, identity: Any, desired: Network, /) -> Network: ...
    async def apply(self, identity: Any, steps: Sequence[Step], /) -> None: ...


class NodeState:
    """Facts of this node that shape every network: MTU, datapath, what the kernel lacks."""

    def __init__(self, ovs: Ovs, node_links: NodeLinks, mtu: int) -> None:
        self._ovs, self._node_links, self._mtu = ovs, node_links, mtu
        self.features = KernelFeatures()
        self._tunnel: dict[IPv4Address | IPv6Address | None, int] = {}

    @property
    def facts(self) -> Node:
        """Return them as they are now."""
        lacking = self.features.lacking
        if not self._node_links.has_tables:
            lacking |= {NF_TABLES}
        mtu = self._mtu or self._tunnel_mtu()
        return Node(self._ovs.bridge, mtu, self._ovs.userspace, lacking)

    def _tunnel_mtu(self) -> int:
        """Return the tunnel's link less 100 bytes for Geneve (Kube-OVN's figure), 120 over IPv6; 1400 if unknown."""
        address = _first_address(self._ovs.chassis.get("ovn-encap-ip", ""))
        if address not in self._tunnel:
            mtu = PodLinks.mtu_of(address) if address else None
            overhead = 120 if address and address.version == 6 else 100
            self._tunnel = {address: mtu - overhead if mtu else 1400}
        return self._tunnel[address]


class PortHost:
    """Fulfils ``reconcile.scope.Host`` for identities that have a port of br-int."""

    def __init__(self, links: Links, ovs: Ovs, state: NodeState, clock: Clock = untimed) -> None:
        self._links, self._ovs, self._state, self._clock = links, ovs, state, clock
        self._turns = asyncio.Lock()

    @property
    def node(self) -> Node:
        """Return the facts of this node."""
        return self._state.facts

    async def ready(self) -> None:
        """Wait up to three seconds for OVSDB: what is desired follows from it too. Raise NotReady without it."""
        await self._ovs.ready_within(_CONNECT_TIMEOUT)

    async def observe(self, identity: PortIdentity, desired: Network) -> Network:
        """Return all that is ours of this identity, and nothing else. Raise NotReady or Taken."""
        await self._turn()
        kernel = self._links.observe(identity, desired)
        linked = {resource.host for resource in kernel if isinstance(resource, Veth)}
        linked |= {resource.name for resource in kernel if isinstance(resource, Nic)}
        rows = self._ovs.observe(identity, desired)
        ports = [row for row in rows if isinstance(row, Port)]
        known: dict[Key, Port] = {port.key: self._orphaned(port, linked) for port in ports}
        return _on_ports(kernel, desired, known) | frozenset(_of_port(row, known) for row in rows)

    async def apply(self, identity: PortIdentity, plan: Plan) -> None:
        """Carry out the steps, runs of one driver at a time. Raise NotReady or NodeFault."""
        drivers = groupby(plan, key=self._driver(identity))
        runs = [(drive, tuple(steps)) for drive, steps in drivers]
        free = all(
            step.verb is Verb.ENSURE and not isinstance(step.resource, HtbQdisc | PoliceFilter)
            for step in plan
        )
        if len(runs) == 2 and free:
            (drive_rows, rows), (drive_links, links) = runs
            await _together(drive_rows(rows), drive_links(links))
        else:
            for drive, steps in runs:
                await drive(steps)

    async def installed(self, identity: PortIdentity) -> None:
        """Return when ovs-vswitchd has the port and ovn-controller its flows. Wait without a bound."""
        await self._ovs.plugged(identity.host_link)
        await self._ovs.installed(identity.host_link)

    async def _turn(self) -> None:
        """Work on one identity for each turn of the event loop: in a burst, STATUS and others get in between."""
        async with self._turns:
            await asyncio.sleep(0)

    def _orphaned(self, row: Port, linked: set[str]) -> Port:
        """A row that outlived its link would lend the next one a stale `ovn-installed`, or the old link's socket."""
        stale = row.name not in linked and (
            self._ovs.is_installed(row.name) or self._ovs.is_plugged(row.name)
        )
        return replace(row, orphaned=stale)

    def _driver(self, identity: PortIdentity) -> Callable[[Step], _Drive]:
        async def kernel(steps: Sequence[Step]) -> None:
            await self._turn()
            with self._clock("kernel"):
                await self._made(steps)
                await self._links.apply(identity, steps)

        async def rows(steps: Sequence[Step]) -> None:
            with self._clock("ovsdb"):
                await self._ovs.apply(steps)

        async def switch(steps: Sequence[Step]) -> None:
            wanted = [step.resource for step in steps if step.verb is Verb.ENSURE]
            await self._enforce(
                [each for each in wanted if isinstance(each, HtbQdisc | PoliceFilter)]
            )

        def driver(step: Step) -> _Drive:
            if isinstance(step.resource, Port | DuplicateIfaceId | OvsQos | OvsPolicing):
                return rows
            return switch if isinstance(step.resource, HtbQdisc | PoliceFilter) else kernel

        return driver

    async def _made(self, steps: Sequence[Step]) -> None:
        """Wait for the link of an internal port: ovs-vswitchd makes it once it has the port."""
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

    async def _enforce(self, wanted: Sequence[HtbQdisc | PoliceFilter]) -> None:
        """Have ovs-vswitchd make them: it does when it takes the rows in, and never looks again."""
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
        """Where no filter comes of it although the kernel has the action, the shaper in the pod has to do."""
        await self._ovs.reapply.filter(policer.host)
        if not is_in_force(policer):
            self._state.features.give_up(POLICE)
            raise NotReady(
                f"ovs-vswitchd makes no filter on {policer.host} of its ingress_policing_rate"
            )


class SandboxHost(PortHost):
    """The host of attachments: sandboxes live or are dead, and marks on the node tell of lost records."""

    def __init__(self, links: PodLinks, ovs: Ovs, state: NodeState, clock: Clock = untimed) -> None:
        super().__init__(links, ovs, state, clock)
        self._sandboxes = links

    def life(self, attachment: Attachment) -> Life:
        """Return whether the sandbox lives, by the kernel's word."""
        return self._sandboxes.life(attachment)

    def found(self) -> list[tuple[Attachment, bool]]:
        """Return what marks on ports and links tell of, and what kube-ovn-cni made; with whether the mark is ours."""
        labelled = [(_labelled(*label), bool(label[1])) for label in self._ovs.labelled()]
        ports = [(each, ours) for each, ours in labelled if each is not None]
        keys = {attachment.key for attachment, _ in ports}
        others = {key for alias in self._sandboxes.aliases() if (key := ids.aliased(alias))}
        others |= {key for mark in self._ovs.shaped() if (key := ids.marked(mark))}
        unlabelled = [Attachment.of_deletion(*key, "") for key in sorted(others - keys)]
        return [*ports, *((each, True) for each in unlabelled if each.container_id)]


def _on_ports(kernel: Network, desired: Network, known: Mapping[Key, Port]) -> Network:
    """An internal link lies within its port as it is; without one, ovs-vswitchd is about to take it away."""
    nic = next((resource for resource in kernel if isinstance(resource, Nic)), None)
    if nic is None:
        return kernel
    ports = [key for key, port in known.items() if port.name == nic.name]
    if not ports and not desired:
        return frozenset(resource for resource in kernel if isinstance(resource, Masquerade))
    return kernel - {nic} | {replace(nic, port=known[ports[0]].key if ports else nic.port)}


def _of_port(row: Resource, known: Mapping[Key, Port]) -> Resource:
    """The row as it is known with its link in view; limits lie within their port, and have its key."""
    if isinstance(row, OvsQos | OvsPolicing):
        return replace(row, port=known[row.port].key) if row.port in known else row
    return known[row.key] if isinstance(row, Port) else row


async def _together(rows: Coroutine[None, None, None], links: Coroutine[None, None, None]) -> None:
    """Send the transaction before the link is made, so that ovsdb-server works while the kernel does."""
    ahead = asyncio.ensure_future(rows)
    await asyncio.sleep(0)
    try:
        await links
    finally:
        await ahead


def _first_address(text: str) -> IPv4Address | IPv6Address | None:
    """`ovn-encap-ip` may list several; the first is the tunnels' own."""
    try:
        return ip_address(text.partition(",")[0].strip())
    except ValueError:
        return None


def _labelled(name: str, mark: str | None, labels: Mapping[str, str]) -> Attachment | None:
    """Return the attachment that a port's labels tell of; None where the port is of no sandbox.

    kube-ovn-cni's own labels have only a part of the container ID, in the name.
    """
    key = ids.marked(mark) if mark else ids.of_host_link(name)
    if key is None or not key[0]:
        return None
    namespace, pod = labels.get("pod_namespace", ""), labels.get("pod_name", "")
    iface_id = labels.get("iface-id", "")
    provider = iface_id.removeprefix(f"{pod}.{namespace}").removeprefix(".") or "ovn"
    return Attachment(
        *key,
        labels.get("pod_netns", ""),
        namespace,
        pod,
        labels.get("iface-id-ver"),
        provider,
        boot_id="",
        sequence=0,
        host_link=name,
        iface_id=iface_id,
    )
