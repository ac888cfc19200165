"""Links, addresses, routes and settings of a pod: from kernel state to values and back.

Ours are, and nothing else is shown or touched: the pair by the host end's name or our alias; addresses with
an IP that is desired, that the record names, or that bear our mark (IFA_PROTO); routes of our protocol in the
main table by our link, and those that compete with a desired one. Settings and offloads are only compared where
desired, and never removed.
"""

import asyncio
import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby

from ovnlet.core import ids
from ovnlet.core.errors import NodeFault, NotReady, Taken, UnknownSandbox
from ovnlet.core.identity import Attachment, Life
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import ABSENT, Address, Network, Nic, Offload, Resource, Sysctl, Veth
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.links import routes, traffic_control, veths
from ovnlet.drivers.links.steps import GONE, Run, fault
from ovnlet.drivers.linux import ethtool, sysctl
from ovnlet.drivers.linux.namespaces import entered, opened
from ovnlet.drivers.linux.rtnetlink import (
    NOPREFIXROUTE,
    Interface,
    Link,
    address,
    delete_link,
    get_addresses,
    get_links,
    link,
)
from ovnlet.drivers.linux.transport import Refused, Request, Socket


class PodLinks:
    """``sysctl_dir`` is where the node's /proc/sys/net is mounted."""

    def __init__(self, sysctl_dir: str = "/proc/sys/net") -> None:
        self._sysctl_dir = sysctl_dir

    @staticmethod
    def mtu_of(ip: IPv4Address | IPv6Address) -> int | None:
        """The MTU of the node's link that has this address; None if no link has it."""
        with Socket() as host:
            entries = (address(body) for body in host.dump(get_addresses(0)))
            index = next((entry.link for entry in entries if entry.ip.ip == ip), None)
            end = veths.named(host, index) if index else None
        return end.mtu if end else None

    @staticmethod
    def aliases() -> list[str]:
        """The aliases of the node's links: ours tell of attachments that nothing else may remember."""
        with Socket() as host:
            return [link(body).alias for body in host.dump(get_links())]

    def life(self, attachment: Attachment) -> Life:
        """Dead is only what the kernel knows no more; a path alone proves nothing."""
        with faults(attachment):
            try:
                with opened(attachment.netns):
                    return Life.ALIVE
            except UnknownSandbox:
                return Life.HIDDEN if _host_end(attachment) else Life.DEAD

    def observe(
        self, attachment: Attachment, desired: Network, owned: frozenset[Interface] = frozenset()
    ) -> Network:
        """What of ours is there; ``owned`` are addresses that the record says were set.

        Where nothing is desired, the host end of a sandbox that cannot be seen is shown and can be removed.
        """
        wanted = next((resource for resource in desired if isinstance(resource, Veth)), None)
        with faults(attachment):
            try:
                with _inside(attachment) as sandbox:
                    return self._look(sandbox, attachment, wanted, desired, owned)
            except UnknownSandbox as error:
                end = _host_end(attachment)
                if end is None:
                    return ABSENT
                if wanted:
                    raise _hidden(attachment, end) from error
                return frozenset({veths.Pair(end, None).value(None)})

    async def apply(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        for veth, run in groupby(steps, key=_doomed_veth):
            with faults(attachment):
                if veth is None:
                    self._carry_out(attachment, tuple(run))
                else:
                    await _delete(attachment, next(run), veth)

    def _carry_out(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        try:
            with _inside(attachment) as sandbox:
                Run(sandbox, attachment, self._sysctl_dir).carry_out(steps)
        except UnknownSandbox as error:
            if end := _host_end(attachment):
                raise _hidden(attachment, end) from error
            if any(step.verb is Verb.ENSURE for step in steps):
                raise

    def _look(
        self,
        sandbox: veths.Sandbox,
        attachment: Attachment,
        wanted: Veth | None,
        desired: Network,
        owned: frozenset[Interface],
    ) -> Network:
        found = veths.find(sandbox, attachment)
        if wanted and found.taken:
            raise Taken(found.taken)
        things: set[Resource] = set()
        for pair in found.pairs:
            veth = pair.value(wanted)
            things.add(veth)
            if pair.pod:
                addresses = tuple(addresses_of(sandbox.pod, pair.pod, veth, desired, owned))
                things.update(addresses)
                things.update(routes.look(sandbox.pod, pair.pod.index, veth, desired, addresses))
                things.update(self._settings(sandbox.pod, veth, desired))
            things.update(traffic_control.look(sandbox, pair, veth, desired))
        return frozenset(things)

    def _settings(self, pod: Socket, veth: Veth, desired: Network) -> Iterator[Resource]:
        for resource in desired:
            if isinstance(resource, Sysctl):
                value = sysctl.read(self._sysctl_dir, resource.name)
                if value is not None:
                    yield Sysctl(veth.key, resource.name, value)
            elif isinstance(resource, Offload) and resource.pod == veth.pod:
                yield Offload(veth.key, veth.pod, ethtool.tx_checksum(pod, veth.pod))


@contextmanager
def _inside(attachment: Attachment) -> Iterator[veths.Sandbox]:
    """The calling thread inside the sandbox, for one pass without an await."""
    with opened(attachment.netns) as netns, Socket() as host, entered(netns), Socket() as pod:
        yield veths.Sandbox(host, pod, netns)


@contextmanager
def faults(attachment: Attachment) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        raise NodeFault(
            f"{ids.mark(*attachment.key)}: {name}: {error.strerror or error}"
        ) from error


def addresses_of(
    pod: Socket, link: Link, end: Veth | Nic, desired: Network, owned: frozenset[Interface]
) -> Iterator[Address]:
    # By IP, not by prefix: IPv6 knows an IP once only, so the wrong prefix has to go for the right one to come.
    ours = {resource.ip.ip for resource in desired if isinstance(resource, Address)}
    for body in pod.dump(get_addresses(link.index)):
        entry = address(body)
        if entry.protocol == PROTOCOL or entry.ip.ip in ours or entry.ip in owned:
            yield Address(end.key, link.name, entry.ip, bool(entry.flags & NOPREFIXROUTE))


def _host_end(attachment: Attachment) -> Link | None:
    """By name, since nothing can be seen of the pod's end; by its mark too where no record says that we made it."""
    with Socket() as host:
        end = veths.named(host, ids.host_link(*attachment.key))
    if end is None or end.kind != "veth":
        return None
    return end if attachment.netns or end.alias == ids.alias(*attachment.key) else None


def _hidden(attachment: Attachment, end: Link) -> NotReady:
    return NotReady(
        f"{attachment.netns} shows no network namespace, yet its link {end.name} lives: "
        "check the mount propagation of that directory into the agent"
    )


def _doomed_veth(step: Step) -> Veth | None:
    return step.resource if step.verb is Verb.REMOVE and isinstance(step.resource, Veth) else None


async def _delete(attachment: Attachment, step: Step, veth: Veth) -> None:
    """In a thread: the kernel waits for a grace period. Either end takes the other with it."""
    if not veths.is_elsewhere(veth.host):
        pending, name = Socket(), veth.host
    else:
        try:
            with opened(attachment.netns) as netns, entered(netns):
                pending, name = Socket(), veth.pod
        except UnknownSandbox:
            return  # and its links with it
    error = await asyncio.to_thread(_ask_and_close, pending, delete_link(name))
    if error and error.errno not in GONE:
        raise fault(step, error)


def _ask_and_close(pending: Socket, request: Request) -> Refused | None:
    with pending:
        (answer,) = pending.ask(request)
        return answer.error
