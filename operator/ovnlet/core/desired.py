"""The pure function at the heart: pod + node + sandbox -> the network it should have."""

from ipaddress import ip_address, ip_network

from ovnlet.core import ids, shaping
from ovnlet.core.allocation import Allocation, Interface
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.resources import Address, Network, Offload, Port, Resource, Route, Sysctl, Veth
from ovnlet.core.resources.ovs import MARK


def network(attachment: Attachment, allocation: Allocation, node: Node) -> Network:
    """Everything that attachment should have on this node, in the pod and in OVS."""
    veth = Veth(
        host=attachment.host_link,
        pod=attachment.ifname,
        mac=allocation.mac,
        mtu=allocation.mtu or node.mtu,
        alias=ids.alias(*attachment.key),
    )
    plug = port(attachment, allocation, node, veth.host)
    things: set[Resource] = {
        veth,
        plug,
        *(Address(veth.key, veth.pod, address) for address in allocation.addresses),
        *_routes(veth, allocation, attachment.routes),
        *_settings(veth, allocation.addresses),
        *shaping.things(attachment, allocation.qos, plug, veth, node),
    }
    if node.userspace:
        things.add(Offload(veth.key, veth.pod, tx_checksum=False))
    return frozenset(things)


def port(attachment: Attachment, allocation: Allocation, node: Node, name: str) -> Port:
    """The OVS port, labelled as Kube-OVN labels its own, so that its tools find it."""
    external_ids = {
        MARK: attachment.mark,
        "iface-id": attachment.iface_id,
        "vendor": "kube-ovn",
        "pod_name": attachment.pod,
        "pod_namespace": attachment.namespace,
        "pod_netns": attachment.netns,
        "ip": ",".join(str(address.ip) for address in allocation.addresses),
    }
    if attachment.uid:
        external_ids["iface-id-ver"] = attachment.uid
    return Port(node.bridge, name, frozenset(external_ids.items()))


def _routes(
    veth: Veth, allocation: Allocation, configured: tuple[tuple[str, str], ...]
) -> set[Route]:
    """Connected routes of our own, then the default and custom ones; each with its source.

    Without a source, a foreign address that was put before ours would become it. The pod's own go before those of the
    network's configuration.
    """
    sources = {address.version: address for address in allocation.addresses}
    routes = {
        address.network: Route(veth.key, veth.pod, address.network, None, address.ip)
        for address in allocation.addresses
        if address.network.prefixlen < address.network.max_prefixlen
    }
    for gateway in allocation.gateways if allocation.default_route else ():
        default = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
        routes[default] = Route(veth.key, veth.pod, default, gateway, sources[gateway.version].ip)
    for custom in allocation.routes:
        source = sources[custom.via.version].ip
        routes.setdefault(
            custom.destination, Route(veth.key, veth.pod, custom.destination, custom.via, source)
        )
    for destination, gateway in ((ip_network(to), ip_address(via)) for to, via in configured):
        address = sources.get(gateway.version)
        if address is not None and gateway in address.network:  # any other the kernel would refuse
            routes.setdefault(
                destination, Route(veth.key, veth.pod, destination, gateway, address.ip)
            )
    return set(routes.values())


def _settings(veth: Veth, addresses: tuple[Interface, ...]) -> set[Sysctl]:
    """A runtime may switch IPv6 off in new sandboxes; router advertisements are not OVN's way to a default route."""
    if not any(address.version == 6 for address in addresses):
        return set()
    return {
        Sysctl(veth.key, f"ipv6/conf/{veth.pod}/disable_ipv6", "0"),
        Sysctl(veth.key, f"ipv6/conf/{veth.pod}/accept_ra", "0"),
    }
