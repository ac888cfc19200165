"""The node's own interface, an internal port of OVS: its link, addresses, routes and settings, in the node's namespace.

Ours are the link by its name, if ovs-vswitchd made it; addresses that are desired or bear our mark; routes of our
protocol by that link, and rivals of those by the same link. Nothing else of the node is looked at.
"""

import errno
import time
from collections.abc import Iterator, Sequence

from ovnlet.core.errors import Taken
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step
from ovnlet.core.resources import ABSENT, Masquerade, Network, Nic, Offload, Resource, Sysctl
from ovnlet.drivers.links import nftables, routes, veths
from ovnlet.drivers.links.pod import addresses_of, faults
from ovnlet.drivers.links.steps import Run
from ovnlet.drivers.linux import ethtool, sysctl
from ovnlet.drivers.linux.rtnetlink import Link
from ovnlet.drivers.linux.transport import Refused, Socket

# What ovs-vswitchd makes internal ports of: in userspace a tap, in the kernel's datapath a port of that.
_KINDS = frozenset({"tun", "openvswitch"})
_NO_NAMESPACE = -1
_RECHECK = 60.0


class NodeLinks:
    """``sysctl_dir`` is where the node's /proc/sys/net is mounted."""

    def __init__(self, sysctl_dir: str = "/proc/sys/net") -> None:
        self._sysctl_dir = sysctl_dir
        self._has_tables, self._until = False, float("-inf")

    def observe(self, attachment: Attachment, desired: Network) -> Network:
        """Raises Taken where another link has the name."""
        with faults(attachment):
            table = nftables.look(attachment.ifname) if self.has_tables else None
        return self._observe(attachment, desired) | ({table} if table else ABSENT)

    @property
    def has_tables(self) -> bool:
        """Whether the kernel has nf_tables. A module that was missing is asked for again after a minute."""
        if not self._has_tables and time.monotonic() >= self._until:
            self._has_tables = nftables.is_there()
            self._until = time.monotonic() + _RECHECK
        return self._has_tables

    def _observe(self, attachment: Attachment, desired: Network) -> Network:
        wanted = next((resource for resource in desired if isinstance(resource, Nic)), None)
        with faults(attachment), Socket() as host:
            link = veths.named(host, attachment.ifname)
            if link is None:
                return ABSENT
            if link.kind not in _KINDS:
                if wanted:
                    raise Taken(f"a foreign link {link.name} stands on the node")
                return ABSENT
            nic = Nic(wanted.port if wanted else (), link.name, link.mac, link.mtu, link.up)
            try:
                return self._look(host, link, nic, desired)
            except (OSError, Refused) as error:
                if error.errno != errno.ENODEV:
                    raise
                return ABSENT  # it went in the middle of the look

    def _look(self, host: Socket, link: Link, nic: Nic, desired: Network) -> Network:
        addresses = tuple(addresses_of(host, link, nic, desired, frozenset()))
        found = routes.look(host, link.index, nic, desired, addresses)
        return frozenset((nic, *addresses, *found, *self._settings(host, nic, desired)))

    def apply(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        links = [step for step in steps if not isinstance(step.resource, Masquerade)]
        with faults(attachment), Socket() as host:
            Run(veths.Sandbox(host, host, _NO_NAMESPACE), attachment, self._sysctl_dir).carry_out(
                links
            )
            for step in steps:
                if isinstance(step.resource, Masquerade):
                    nftables.carry_out(step)

    def _settings(self, host: Socket, nic: Nic, desired: Network) -> Iterator[Resource]:
        for resource in desired:
            if isinstance(resource, Sysctl):
                value = sysctl.read(self._sysctl_dir, resource.name)
                if value is not None:
                    yield Sysctl(nic.key, resource.name, value)
            elif isinstance(resource, Offload):
                yield Offload(nic.key, nic.name, ethtool.tx_checksum(host, nic.name))
