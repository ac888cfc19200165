"""Observe and change the node's own interface, an internal port of OVS, in the node's namespace.

The interface has a link, addresses, routes and settings. Ours are: the link by its name, if
ovs-vswitchd made it; addresses that are desired or have our mark; routes of our protocol by that
link, and routes by the same link that compete with them. Nothing else on the node is looked at.
"""

import errno
from collections.abc import Iterator, Sequence

from ovnlet.core.errors import NodeFault, Taken
from ovnlet.core.identity import Attachment, NodeInterface
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.plan import Step
from ovnlet.core.resources import ABSENT, Network, Nic, Offload, Resource, Route, Sysctl
from ovnlet.drivers.links import routes, veths
from ovnlet.drivers.links.open_sandboxes import OpenSandboxes
from ovnlet.drivers.links.pairs import Pairs
from ovnlet.drivers.links.pod import addresses_of, os_errors_as_node_faults
from ovnlet.drivers.links.steps import StepRunner
from ovnlet.drivers.linux import ethtool, sysctl
from ovnlet.drivers.linux.rtnetlink import Link, address, get_addresses
from ovnlet.drivers.linux.transport import Refused, Socket

# The kinds of link that ovs-vswitchd makes for an internal port: a tap for a bridge in userspace,
# a port of the kernel's datapath otherwise.
_KINDS = frozenset({"tun", "openvswitch"})


class NodeLinks:
    """The kernel's side of the node's own interface.

    ``sysctl_dir`` is where the node's /proc/sys/net is mounted.
    """

    def __init__(self, sysctl_dir: str = "/proc/sys/net") -> None:
        self._sysctl_dir, self.pairs = sysctl_dir, Pairs(OpenSandboxes())

    def observe(self, attachment: Attachment, desired: Network) -> Network:
        """Return what the kernel has of ours for the interface.

        Raise Taken if another link has the name, NodeFault if the kernel refuses a question.
        """
        wanted = next((resource for resource in desired if isinstance(resource, Nic)), None)
        with os_errors_as_node_faults(attachment), Socket() as host:
            link = veths.named(host, attachment.ifname)
            if link is None:
                return ABSENT
            if link.kind not in _KINDS:
                if wanted:
                    raise Taken(f"a foreign link {link.name} exists on the node")
                return ABSENT
            port = wanted.port if wanted else ()
            nic = Nic(port, link.name, link.mac, link.mtu, link.up, link.arp)
            try:
                return self._observe_link(host, link, nic, desired)
            except (OSError, Refused) as error:
                if error.errno != errno.ENODEV:
                    raise
                return ABSENT  # the link was deleted in the meantime

    @staticmethod
    def prefixes(own: NodeInterface) -> frozenset[HostPrefix]:
        """Return the prefixes of the addresses on the node's links other than its own interface.

        Link-local addresses of IPv6 are left out. Raise NodeFault if the kernel refuses.
        """
        with os_errors_as_node_faults(own), Socket() as host:
            entries = [address(body) for body in host.dump(get_addresses(0))]
            found = {
                (entry.link, entry.ip)
                for entry in entries
                if entry.ip.version == 4 or not entry.ip.is_link_local
            }
            links = {index: veths.named(host, index) for index in {index for index, _ in found}}
        return frozenset(
            HostPrefix(ip.network, link.name, ip.ip)
            for index, ip in found
            if (link := links[index]) is not None and link.name != own.ifname
        )

    def hand_back(self, own: NodeInterface) -> list[Route]:
        """Put kube-ovn-cni's routes in place of ours, and return those.

        Each comes before ours goes, so that the node reaches its pods all the time. Raise NodeFault
        if the kernel refuses one.
        """
        with os_errors_as_node_faults(own), Socket() as host:
            link = veths.named(host, own.ifname)
            if link is None or link.kind not in _KINDS:
                return []
            nic = Nic((), link.name, link.mac, link.mtu, link.up, link.arp)
            found = routes.observe(host, link.index, nic, ABSENT, ())
            ours = [each for each in found if isinstance(each, Route)]
            for each in sorted(ours, key=lambda route: route.via is not None):
                went = routes.delete_route(
                    link.index, each.destination, each.via, each.source, each.later
                )
                for answer in host.ask(routes.kube_ovns_route(link.index, each), went):
                    if answer.error and answer.error.errno != errno.EEXIST:
                        raise NodeFault(f"route to {each.destination}: {answer.error}")
        return ours

    async def apply(self, attachment: Attachment, steps: Sequence[Step]) -> None:
        """Carry out the steps.

        Block the event loop while the kernel works, like ``PodLinks.apply``, but never await. Raise
        NodeFault if the kernel refuses a step; the steps before it stay done, and some after it may
        be done too.
        """
        with os_errors_as_node_faults(attachment), Socket() as host:
            sandbox = veths.Sandbox(host, host, veths.NO_NAMESPACE)
            StepRunner(sandbox, attachment, self._sysctl_dir, self.pairs).carry_out(steps)

    def _observe_link(self, host: Socket, link: Link, nic: Nic, desired: Network) -> Network:
        addresses = tuple(addresses_of(host, link, nic, desired, frozenset()))
        found = routes.observe(host, link.index, nic, desired, addresses)
        return frozenset((nic, *addresses, *found, *self._settings(host, nic, desired)))

    def _settings(self, host: Socket, nic: Nic, desired: Network) -> Iterator[Resource]:
        for resource in desired:
            if isinstance(resource, Sysctl):
                value = sysctl.read(self._sysctl_dir, resource.name)
                if value is not None:
                    yield Sysctl(nic.key, resource.name, value)
            elif isinstance(resource, Offload):
                yield Offload(nic.key, nic.name, ethtool.tx_checksum(host, nic.name))
