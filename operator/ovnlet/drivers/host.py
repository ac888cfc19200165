"""The node: what the kernel and OVSDB show of an attachment, and each step sent to the driver it belongs to."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby

from ovnlet.core import ids
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment, Life, Node
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

# ovs-vswitchd makes an internal port's link within milliseconds, if it runs.
_MAKING = 2.0
_Drive = Callable[[Sequence[Step]], Coroutine[None, None, None]]


class LocalHost:
    """Fulfils ``reconcile.reconciler.Host`` with the real kernel and the real OVSDB."""

    def __init__(
        self, netlink: PodLinks, node_links: NodeLinks, ovs: Ovs, mtu: int, clock: Clock = untimed
    ) -> None:
        self._clock = clock
        self._netlink, self._node_links, self._ovs, self._mtu = netlink, node_links, ovs, mtu
        self._kinds = KernelFeatures()
        self._turns = asyncio.Lock()
        self._tunnel: dict[IPv4Address | IPv6Address | None, int] = {}

    @property
    def node(self) -> Node:
        lacking = (
            self._kinds.lacking
            if self._node_links.has_tables
            else self._kinds.lacking | {NF_TABLES}
        )
        return Node(self._ovs.bridge, self._mtu or self._tunnel_mtu(), self._ovs.userspace, lacking)

    def life(self, attachment: Attachment) -> Life:
        return self._netlink.life(attachment)

    async def observe(self, attachment: Attachment, desired: Network) -> Network:
        """All that is ours of this attachment, and nothing else."""
        await self._turn()
        kernel = (self._node_links if attachment.is_node else self._netlink).observe(
            attachment, desired
        )
        linked = {resource.host for resource in kernel if isinstance(resource, Veth)}
        linked |= {resource.name for resource in kernel if isinstance(resource, Nic)}
        rows = self._ovs.observe(attachment, desired)
        ports = [row for row in rows if isinstance(row, Port)]
        known: dict[Key, Port] = {port.key: self._orphaned(port, linked) for port in ports}
        return _on_ports(kernel, desired, known) | frozenset(_of_port(row, known) for row in rows)

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        runs = [
            (drive, tuple(steps)) for drive, steps in groupby(plan, key=self._driver(attachment))
        ]
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

    async def installed(self, attachment: Attachment) -> None:
        """Return when ovs-vswitchd has the port and ovn-controller its flows."""
        name = ids.host_link(*attachment.key)
        await self._ovs.plugged(name)
        await self._ovs.installed(name)

    def found(self) -> list[tuple[Attachment, bool]]:
        """What marks on ports and links tell of, and what kube-ovn-cni made; with whether the mark is ours."""
        labelled = [
            (each, bool(label[1])) for label in self._ovs.labelled() if (each := _labelled(*label))
        ]
        ports = [(attachment, ours) for attachment, ours in labelled if not attachment.is_node]
        keys = {attachment.key for attachment, _ in ports}
        others = {key for alias in self._netlink.aliases() if (key := ids.aliased(alias))}
        others |= {key for mark in self._ovs.shaped() if (key := ids.marked(mark))}
        return [
            *ports,
            *((Attachment.of_deletion(*key, ""), True) for key in sorted(others - keys)),
        ]

    async def _turn(self) -> None:
        """Work on one sandbox for each turn of the loop: in a burst, STATUS and everyone else get in between."""
        async with self._turns:
            await asyncio.sleep(0)

    def _orphaned(self, row: Port, linked: set[str]) -> Port:
        """A row that outlived its link would lend the next one a stale `ovn-installed`, or the old link's socket."""
        stale = row.name not in linked and (
            self._ovs.is_installed(row.name) or self._ovs.is_plugged(row.name)
        )
        return replace(row, orphaned=stale)

    def _driver(self, attachment: Attachment) -> Callable[[Step], _Drive]:
        async def kernel(steps: Sequence[Step]) -> None:
            await self._turn()
            with self._clock("kernel"):
                await self._apply_links(attachment, steps)

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

    async def _apply_links(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        if attachment.is_node:
            await self._made(steps)
            self._node_links.apply(attachment, steps)
        else:
            await self._netlink.apply(attachment, steps)

    async def _made(self, steps: Sequence[Step]) -> None:
        """An internal port's link is there once ovs-vswitchd has the port."""
        for step in steps:
            if step.verb is Verb.ENSURE and isinstance(step.resource, Nic) and step.was is None:
                try:
                    async with asyncio.timeout(_MAKING):
                        await self._ovs.plugged(step.resource.name)
                except TimeoutError:
                    raise NotReady(
                        f"ovs-vswitchd has not made {step.resource.name} for {_MAKING:g} s"
                    ) from None

    async def _enforce(self, wanted: Sequence[HtbQdisc | PoliceFilter]) -> None:
        """ovs-vswitchd makes them when it takes the rows in; what was deleted behind its back it does not."""
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
        """Where no filter comes of it, though the kernel has the action, the shaper in the pod has to do."""
        await self._ovs.reapply.filter(policer.host)
        if not is_in_force(policer):
            self._kinds.give_up(POLICE)
            raise NotReady(
                f"ovs-vswitchd makes no filter on {policer.host} of its ingress_policing_rate"
            )

    def _tunnel_mtu(self) -> int:
        """The tunnel's link less 100 bytes for Geneve (Kube-OVN's figure), 120 over IPv6; 1400 if unknown."""
        address = _first_address(self._ovs.chassis.get("ovn-encap-ip", ""))
        if address not in self._tunnel:
            mtu = self._netlink.mtu_of(address) if address else None
            self._tunnel = {
                address: mtu - (120 if address and address.version == 6 else 100) if mtu else 1400
            }
        return self._tunnel[address]


def _on_ports(kernel: Network, desired: Network, known: Mapping[Key, Port]) -> Network:
    """The node's own interface lies within its port as it is; without one, ovs-vswitchd is about to take it away."""
    nic = next((resource for resource in kernel if isinstance(resource, Nic)), None)
    if nic is None:
        return kernel
    ports = [key for key, port in known.items() if port.name == nic.name]
    if not ports and not desired:
        return frozenset(resource for resource in kernel if isinstance(resource, Masquerade))
    return kernel - {nic} | {replace(nic, port=known[ports[0]].key if ports else nic.port)}


def _of_port(row: Resource, known: Mapping[Key, Port]) -> Resource:
    """The row as it is known with its link in view; limits lie within their port, and bear its key."""
    if isinstance(row, OvsQos | OvsPolicing):
        return replace(row, port=known[row.port].key) if row.port in known else row
    return known[row.key] if isinstance(row, Port) else row


async def _together(rows: Coroutine[None, None, None], links: Coroutine[None, None, None]) -> None:
    """The transaction is on its way before the link is made, and ovsdb-server works while the kernel does."""
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
    """The attachment as a port's labels tell of it; kube-ovn-cni's own bear only a part of the container ID."""
    key = ids.marked(mark) if mark else ids.of_host_link(name)
    if key is None:
        return None
    namespace, pod = labels.get("pod_namespace", ""), labels.get("pod_name", "")
    provider = (
        labels.get("iface-id", "").removeprefix(f"{pod}.{namespace}").removeprefix(".") or "ovn"
    )
    uid = labels.get("iface-id-ver")
    return Attachment(
        *key, labels.get("pod_netns", ""), namespace, pod, uid, provider, boot_id="", sequence=0
    )
