"""The hosts of ports: observe the kernel and OVSDB together, and send each step to its driver."""

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
# OVSDB is reconnected within a second; a DEL must be answered within five.
_CONNECT_TIMEOUT = 3.0
_Drive = Callable[[Sequence[Step]], Coroutine[None, None, None]]


class Links(Protocol):
    """The kernel's side of an identity. ``links.pod`` and ``links.node`` implement it."""

    def observe(self, identity: Any, desired: Network, /) -> Network:
        """Return all that is ours of this identity in the kernel. Raise Taken."""
        ...

    async def apply(self, identity: Any, steps: Sequence[Step], /) -> None:
        """Carry out the steps in their order. Raise NotReady or NodeFault."""
        ...


class NodeState:
    """The facts of this node for every network: MTU, datapath, what the kernel lacks."""

    def __init__(self, ovs: Ovs, node_links: NodeLinks, mtu: int) -> None:
        self._ovs, self._node_links, self._mtu = ovs, node_links, mtu
        self.features = KernelFeatures()
        self._tunnel: dict[IPv4Address | IPv6Address | None, int] = {}

    @property
    def facts(self) -> Node:
        """The current facts."""
        lacking = self.features.lacking
        if not self._node_links.has_tables:
            lacking |= {NF_TABLES}
        mtu = self._mtu or self._tunnel_mtu()
        return Node(self._ovs.bridge, mtu, self._ovs.userspace, lacking)

    def _tunnel_mtu(self) -> int:
        """Return the MTU of the tunnel's link less the overhead, in bytes; 1400 if it is unknown.

        Geneve takes 100 bytes (Kube-OVN's figure), 120 over IPv6.
        """
        address = _first_address(self._ovs.chassis.get("ovn-encap-ip", ""))
        if address not in self._tunnel:
            mtu = PodLinks.mtu_of(address) if address else None
            overhead = 120 if address and address.version == 6 else 100
            self._tunnel = {address: mtu - overhead if mtu else 1400}
        return self._tunnel[address]


class PortHost:
    """Implements ``reconcile.scope.Host`` for identities that have a port of br-int."""

    def __init__(self, links: Links, ovs: Ovs, state: NodeState, clock: Clock = untimed) -> None:
        self._links, self._ovs, self._state, self._clock = links, ovs, state, clock
        self._turns = asyncio.Lock()

    @property
    def node(self) -> Node:
        """The facts of this node."""
        return self._state.facts

    async def ready(self) -> None:
        """Wait up to three seconds for OVSDB, from which the desired network follows too.

        Raise NotReady without it.
        """
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
        """Carry out the steps in runs of one driver each. Raise NotReady or NodeFault."""
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
        """Wait without a bound until ovs-vswitchd has the port and ovn-controller its flows."""
        await self._ovs.plugged(identity.host_link)
        await self._ovs.installed(identity.host_link)

    async def _turn(self) -> None:
        """Wait for a turn of the event loop of its own, so that a burst does not delay STATUS."""
        async with self._turns:
            await asyncio.sleep(0)

    def _orphaned(self, row: Port, linked: set[str]) -> Port:
        """Mark a row that outlived its link: a new link would get its `ovn-installed` or socket."""
        stale = row.name not in linked and (
            self._ovs.is_installed(row.name) or self._ovs.is_plugged(row.name)
        )
        return replace(row, orphaned=stale)

    def _driver(self, identity: PortIdentity) -> Callable[[Step], _Drive]:
        """Return the function that finds the driver of a step."""

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

    async def _enforce(self, wanted: Sequence[HtbQdisc | PoliceFilter]) -> None:
        """Make ovs-vswitchd apply missing limits: it applies a row once, and never checks."""
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
        shapes inside the pod instead.
        """
        await self._ovs.reapply.filter(policer.host)
        if not is_in_force(policer):
            self._state.features.give_up(POLICE)
            raise NotReady(
                f"ovs-vswitchd makes no filter on {policer.host} of its ingress_policing_rate"
            )


class SandboxHost(PortHost):
    """The host of attachments, which also reports dead sandboxes and finds lost attachments."""

    def __init__(self, links: PodLinks, ovs: Ovs, state: NodeState, clock: Clock = untimed) -> None:
        super().__init__(links, ovs, state, clock)
        self._sandboxes = links

    def life(self, attachment: Attachment) -> Life:
        """Return whether the sandbox is alive, according to the kernel."""
        return self._sandboxes.life(attachment)

    def found(self) -> list[tuple[Attachment, bool]]:
        """Return the attachments that marks on ports and links show, and whether each mark is ours.

        Those that kube-ovn-cni made have none of ours. Raise NotReady without OVSDB.
        """
        labelled = [(_labelled(*label), bool(label[1])) for label in self._ovs.labelled()]
        ports = [(each, ours) for each, ours in labelled if each is not None]
        keys = {attachment.key for attachment, _ in ports}
        others = {key for alias in self._sandboxes.aliases() if (key := ids.aliased(alias))}
        others |= {key for mark in self._ovs.shaped() if (key := ids.marked(mark))}
        unlabelled = [Attachment.of_deletion(*key, "") for key in sorted(others - keys)]
        return [*ports, *((each, True) for each in unlabelled if each.container_id)]


def _on_ports(kernel: Network, desired: Network, known: Mapping[Key, Port]) -> Network:
    """Put an internal link within its port, or leave it out: ovs-vswitchd removes it then."""
    nic = next((resource for resource in kernel if isinstance(resource, Nic)), None)
    if nic is None:
        return kernel
    ports = [key for key, port in known.items() if port.name == nic.name]
    if not ports and not desired:
        return frozenset(resource for resource in kernel if isinstance(resource, Masquerade))
    return kernel - {nic} | {replace(nic, port=known[ports[0]].key if ports else nic.port)}


def _of_port(row: Resource, known: Mapping[Key, Port]) -> Resource:
    """Return a row as judged with its link; limits get the key of their port."""
    if isinstance(row, OvsQos | OvsPolicing):
        return replace(row, port=known[row.port].key) if row.port in known else row
    return known[row.key] if isinstance(row, Port) else row


async def _together(rows: Coroutine[None, None, None], links: Coroutine[None, None, None]) -> None:
    """Send the transaction before the link is made, so that ovsdb-server and the kernel overlap."""
    ahead = asyncio.ensure_future(rows)
    await asyncio.sleep(0)
    try:
        await links
    finally:
        await ahead


def _first_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the first address of `ovn-encap-ip`, from which tunnels start; None if unusable."""
    try:
        return ip_address(text.partition(",")[0].strip())
    except ValueError:
        return None


def _labelled(name: str, mark: str | None, labels: Mapping[str, str]) -> Attachment | None:
    """Return the attachment that a port's labels describe; None where it is of no sandbox.

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
