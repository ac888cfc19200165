"""Observe and change the links, addresses, routes and settings of a pod.

Only what is ours is shown or touched: the veth pair by its host end's name or our alias; addresses
with an IP that is desired or in the record, or with our mark (IFA_PROTO); routes of our protocol in
the main table by our link, and routes that compete with a desired one. Settings and offloads are
only compared if they are desired, and never removed.
"""

import asyncio
import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby

from ovnlet.core import ids
from ovnlet.core.errors import NodeFault, NotReady, Taken, UnknownSandbox
from ovnlet.core.identity import Attachment, AttachmentKey, Identity, Life
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import (
    ABSENT,
    Address,
    Loopback,
    Network,
    Nic,
    Offload,
    Resource,
    Sysctl,
    Veth,
)
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.drivers.links import routes, traffic_control, veths
from ovnlet.drivers.links.open_sandboxes import OpenSandboxes
from ovnlet.drivers.links.pairs import Pairs
from ovnlet.drivers.links.removal import LinkRemoval
from ovnlet.drivers.links.steps import GONE, StepRunner, fault
from ovnlet.drivers.linux import ethtool, ifreq, sysctl
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

# Seconds that `lo` must be down: a runtime sets it down moments before its DEL.
LOOPBACK_DOWN = 2.0


class PodLinks:
    """The kernel's side of the pods' attachments.

    ``sysctl_dir`` is where the node's /proc/sys/net is mounted. `lo` counts as down if it is for
    ``loopback_down`` seconds.
    """

    def __init__(
        self, sysctl_dir: str = "/proc/sys/net", loopback_down: float = LOOPBACK_DOWN
    ) -> None:
        self._sysctl_dir, self._lasting = sysctl_dir, loopback_down
        self._loopback_down: dict[AttachmentKey, float] = {}
        self._sandboxes, self._removal = OpenSandboxes(), LinkRemoval()
        self.pairs = Pairs(self._sandboxes)

    @staticmethod
    def mtu_of(ip: IPv4Address | IPv6Address) -> int | None:
        """Return the MTU in bytes of the node's link with this address, or None if no link has it.

        Raise Refused or OSError if the kernel denies the question.
        """
        with Socket() as host:
            entries = (address(body) for body in host.dump(get_addresses(0)))
            index = next((entry.link for entry in entries if entry.ip.ip == ip), None)
            end = veths.named(host, index) if index else None
        return end.mtu if end else None

    @staticmethod
    def aliases() -> list[str]:
        """Return the aliases of all links of the node.

        Ours name attachments that may be recorded nowhere else. Raise Refused or OSError.
        """
        with Socket() as host:
            return [link(body).alias for body in host.dump(get_links())]

    def life(self, attachment: Attachment) -> Life:
        """Return whether the sandbox exists, is gone, or cannot be seen from here.

        A missing path alone proves nothing: the sandbox is gone only if its link is gone from the
        kernel too. Raise NodeFault if the agent cannot look.
        """
        with os_errors_as_node_faults(attachment):
            try:
                with opened(attachment.netns):
                    return Life.ALIVE
            except UnknownSandbox:
                return Life.HIDDEN if _host_end(attachment) else Life.DEAD

    def pod_end(self, attachment: Attachment) -> tuple[str, str] | None:
        """Return name and MAC of the pod's end as they are; None where no pair is whole.

        Raise NodeFault if the agent cannot look.
        """
        with os_errors_as_node_faults(attachment):
            try:
                with self._sandboxes.open(attachment) as sandbox:
                    found = veths.find(sandbox, attachment)
            except UnknownSandbox:
                return None
        ends = [pair.pod for pair in found.pairs if pair.host and pair.pod]
        return (ends[0].name, ends[0].mac) if len(ends) == 1 else None

    def observe(
        self, attachment: Attachment, desired: Network, owned: frozenset[Interface] = frozenset()
    ) -> Network:
        """Return what is there of ours. ``owned`` are the addresses that the record says were set.

        If nothing is desired, show only pairs, with which all else goes, and the host end even of a
        sandbox that cannot be seen. If a veth is desired for such a sandbox, raise NotReady. Of a
        pod's end that is lent, show no address and no route. Raise Taken if a foreign link has a
        name of ours, NodeFault if the kernel refuses a question.
        """
        wanted = next((resource for resource in desired if isinstance(resource, Veth)), None)
        if not desired:
            self._loopback_down.pop(attachment.key, None)
        with os_errors_as_node_faults(attachment):
            try:
                with self._sandboxes.open(attachment) as sandbox:
                    return self._observe_inside(sandbox, attachment, wanted, desired, owned)
            except UnknownSandbox as error:
                end = _host_end(attachment)
                if end is None:
                    return ABSENT
                if wanted:
                    raise _not_visible(attachment, end) from error
                return frozenset({veths.Pair(end, None).value(None)})

    async def apply(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        """Carry out the steps in order.

        Block the event loop while the kernel works, except for the removal of a veth, which runs in
        a thread. Raise NodeFault if the kernel refuses a step; the steps before it stay done, and
        some after it may be done too. Raise UnknownSandbox to ensure something in a sandbox that is
        gone, NotReady if the sandbox exists but cannot be seen, Taken if a foreign link has a name
        of ours.
        """
        for veth, run in groupby(steps, key=_removed_veth):
            with os_errors_as_node_faults(attachment):
                if veth is None:
                    self._carry_out(attachment, tuple(run))
                else:
                    await self._delete(attachment, next(run), veth)

    async def _delete(self, attachment: Attachment, step: Step, veth: Veth) -> None:
        """Delete a veth pair by one of its ends; the kernel removes the other end with it.

        If the node's end has moved away since it was observed, the pod's end is left to delete.
        """
        error: Refused | None
        if not veths.is_elsewhere(veth.host):
            error = await self._removal.delete(veth.host)
            if error is None or error.errno not in GONE:
                _require_gone(step, error)
                return
        try:
            with opened(attachment.netns) as netns, entered(netns):
                pending = Socket()
        except UnknownSandbox:
            return  # the namespace is gone, and its links with it
        error = await asyncio.to_thread(_ask_and_close, pending, delete_link(veth.pod))
        _require_gone(step, error)

    def _carry_out(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        try:
            with self._sandboxes.open(attachment) as sandbox:
                StepRunner(sandbox, attachment, self._sysctl_dir, self.pairs).carry_out(steps)
        except UnknownSandbox as error:
            if end := _host_end(attachment):
                raise _not_visible(attachment, end) from error
            if any(step.verb is Verb.ENSURE for step in steps):
                raise

    def _observe_inside(
        self,
        sandbox: veths.Sandbox,
        attachment: Attachment,
        wanted: Veth | None,
        desired: Network,
        owned: frozenset[Interface],
    ) -> Network:
        found = veths.find(sandbox, attachment, wanted.pod if wanted else "")
        lent = wanted is not None and wanted.lent
        if wanted and found.taken:
            raise Taken(found.taken)
        pairs = [(pair, pair.value(wanted)) for pair in found.pairs]
        resources: set[Resource] = {veth for _, veth in pairs}
        for pair, veth in pairs if desired else ():  # what is within a pair goes with it
            if pair.pod and not lent:
                addresses = tuple(addresses_of(sandbox.pod, pair.pod, veth, desired, owned))
                resources.update(addresses)
                resources.update(
                    routes.observe(sandbox.pod, pair.pod.index, veth, desired, addresses)
                )
                if any(isinstance(resource, Loopback) for resource in desired):
                    resources.add(Loopback(veth.key, self._loopback_up(sandbox.pod, attachment)))
            if pair.pod:
                resources.update(self._settings(sandbox, veth, desired))
            resources.update(traffic_control.observe(sandbox, pair, veth, desired))
        return frozenset(resources)

    def _loopback_up(self, pod: Socket, attachment: Attachment) -> bool:
        """Return whether `lo` is up, or has not been down for long.

        Between a runtime's own DEL of `lo` and ours it must not be set up again.
        """
        if ifreq.is_up(pod, Loopback.name):
            self._loopback_down.pop(attachment.key, None)
            return True
        now = time.monotonic()
        return now - self._loopback_down.setdefault(attachment.key, now) < self._lasting

    def _settings(self, sandbox: veths.Sandbox, veth: Veth, desired: Network) -> Iterator[Resource]:
        if names := [resource.name for resource in desired if isinstance(resource, Sysctl)]:
            with sandbox.inside():
                found = [(name, sysctl.read(self._sysctl_dir, name)) for name in names]
            yield from (Sysctl(veth.key, name, value) for name, value in found if value is not None)
        for resource in desired:
            if isinstance(resource, Offload) and resource.pod == veth.pod:
                yield Offload(veth.key, veth.pod, ethtool.tx_checksum(sandbox.pod, veth.pod))


@contextmanager
def os_errors_as_node_faults(identity: Identity) -> Iterator[None]:
    """Raise an OSError of the body as a NodeFault that names the identity and the error."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "")
        raise NodeFault(f"{ids.mark(*identity.key)}: {name}: {error.strerror or error}") from error


def addresses_of(
    pod: Socket, link: Link, end: Veth | Nic, desired: Network, owned: frozenset[Interface]
) -> Iterator[Address]:
    """Yield our addresses of a link, those of ``owned`` included.

    Desired ones are known by IP, not by prefix: IPv6 has an IP only once on a link, so an
    address with the wrong prefix must go before the right one can come.
    """
    ours = {resource.ip.ip for resource in desired if isinstance(resource, Address)}
    for body in pod.dump(get_addresses(link.index)):
        entry = address(body)
        if entry.protocol == PROTOCOL or entry.ip.ip in ours or entry.ip in owned:
            yield Address(end.key, link.name, entry.ip, bool(entry.flags & NOPREFIXROUTE))


def _host_end(attachment: Attachment) -> Link | None:
    """Return the veth's host end by name: the pod's end cannot be seen.

    Without a recorded namespace path, nothing says that we made the link; it must have our alias.
    """
    with Socket() as host:
        end = veths.named(host, attachment.host_link)
    if end is None or end.kind != "veth":
        return None
    return end if attachment.netns or end.alias == ids.alias(*attachment.key) else None


def _not_visible(attachment: Attachment, end: Link) -> NotReady:
    return NotReady(
        f"{attachment.netns} shows no network namespace, but its link {end.name} exists: "
        "check the mount propagation of that directory into the agent"
    )


def _removed_veth(step: Step) -> Veth | None:
    return step.resource if step.verb is Verb.REMOVE and isinstance(step.resource, Veth) else None


def _require_gone(step: Step, error: Refused | None) -> None:
    """Raise NodeFault if the link stays."""
    if error and error.errno not in GONE:
        raise fault(step, error)


def _ask_and_close(pending: Socket, request: Request) -> Refused | None:
    with pending:
        (answer,) = pending.ask(request)
        return answer.error
