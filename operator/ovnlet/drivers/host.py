"""The node: what the kernel and OVSDB show of an attachment, and each step sent to the driver it belongs to."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby

from ovnlet.core import ids
from ovnlet.core.attachment import Attachment, Life, Node
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import Claim, Network, Port, Resource, Veth
from ovnlet.drivers.netlink import Netlink
from ovnlet.drivers.ovs import Ovs

_Drive = Callable[[Sequence[Step]], Coroutine[None, None, None]]


class LocalHost:
    """Fulfils ``reconcile.reconciler.Host`` with the real kernel and the real OVSDB."""

    def __init__(self, netlink: Netlink, ovs: Ovs, mtu: int) -> None:
        self._netlink, self._ovs, self._mtu = netlink, ovs, mtu
        self._turns = asyncio.Lock()
        self._tunnel: dict[IPv4Address | IPv6Address | None, int] = {}

    @property
    def node(self) -> Node:
        return Node(self._ovs.bridge, self._mtu or self._tunnel_mtu(), self._ovs.userspace)

    def life(self, attachment: Attachment) -> Life:
        return self._netlink.life(attachment)

    async def observe(self, attachment: Attachment, desired: Network) -> Network:
        """All that is ours of this attachment, and nothing else."""
        await self._turn()
        kernel = self._netlink.observe(attachment, desired)
        linked = {resource.host for resource in kernel if isinstance(resource, Veth)}
        rows = self._ovs.observe(attachment, desired)
        return kernel | frozenset(self._orphaned(row, linked) for row in rows)

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        runs = [(drive, tuple(steps)) for drive, steps in groupby(plan, key=self._driver(attachment))]
        if len(runs) == 2 and all(step.verb is Verb.ENSURE for step in plan):
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
        ports = [(each, bool(label[1])) for label in self._ovs.labelled() if (each := _labelled(*label))]
        keys = {attachment.key for attachment, _ in ports}
        aliased = {key for alias in self._netlink.aliases() if (key := ids.aliased(alias))}
        return [*ports, *((Attachment.of_deletion(*key, ""), True) for key in sorted(aliased - keys))]

    async def _turn(self) -> None:
        """Work on one sandbox for each turn of the loop: in a burst, STATUS and everyone else get in between."""
        async with self._turns:
            await asyncio.sleep(0)

    def _orphaned(self, row: Resource, linked: set[str]) -> Resource:
        """A row that outlived its link would lend the next one a stale `ovn-installed`, or the old link's socket."""
        if not isinstance(row, Port) or row.name in linked:
            return row
        if self._ovs.is_installed(row.name) or self._ovs.is_plugged(row.name):
            return replace(row, orphaned=True)
        return row

    def _driver(
        self, attachment: Attachment
    ) -> Callable[[Step], Callable[[Sequence[Step]], Coroutine[None, None, None]]]:
        async def kernel(steps: Sequence[Step]) -> None:
            await self._turn()
            await self._netlink.apply(attachment, steps)

        return lambda step: self._ovs.apply if isinstance(step.resource, Port | Claim) else kernel

    def _tunnel_mtu(self) -> int:
        """The tunnel's link less 100 bytes for Geneve (Kube-OVN's figure), 120 over IPv6; 1400 if unknown."""
        address = _first_address(self._ovs.chassis.get("ovn-encap-ip", ""))
        if address not in self._tunnel:
            mtu = self._netlink.mtu_of(address) if address else None
            self._tunnel = {address: mtu - (120 if address and address.version == 6 else 100) if mtu else 1400}
        return self._tunnel[address]


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
    provider = labels.get("iface-id", "").removeprefix(f"{pod}.{namespace}").removeprefix(".") or "ovn"
    uid = labels.get("iface-id-ver")
    return Attachment(*key, labels.get("pod_netns", ""), namespace, pod, uid, provider, boot_id="", sequence=0)
