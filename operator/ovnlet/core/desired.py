"""The central pure function: from pod, node and sandbox to the network that the pod should have."""

from ipaddress import ip_address, ip_network

from ovnlet.core import fixed, ids, shaping
from ovnlet.core.allocation import Allocation, Interface
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.resources import (
    Address,
    Loopback,
    Network,
    Offload,
    Port,
    Resource,
    Route,
    Sysctl,
    Veth,
)
from ovnlet.core.resources.netlink import LATER
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.tunnel import carried


def network(
    attachment: Attachment,
    allocation: Allocation,
    node: Node,
    lent: tuple[str, str] | None = None,
) -> Network:
    """Return everything that the attachment should have on this node, in the pod and in OVS.

    ``lent`` are name and MAC of the pod's end where it was given to a virtual machine. KubeVirt
    sets it down, renames it, takes its address off and changes its MAC for a bridge binding, so
    that its state, and addresses, routes and settings there, are not ours. MTU, limits and the
    node's end are.

    Raise NotReady where the MTU carries none of its addresses.
    """
    name, mac = lent or (attachment.ifname, allocation.mac)
    veth = Veth(
        host=attachment.host_link,
        pod=name,
        mac=mac,
        mtu=allocation.mtu or node.mtu,
        alias=ids.alias(*attachment.key),
        lent=lent is not None,
    )
    ovs_port = port(attachment, allocation, node, veth.host)
    allocation = carried(allocation, node)
    resources: set[Resource] = {
        veth,
        ovs_port,
        *shaping.resources(attachment, allocation.qos, ovs_port, veth, node),
    }
    if node.userspace:
        resources.add(Offload(veth.key, veth.pod, tx_checksum=False))
    if not lent:
        resources |= _inside(veth, allocation, attachment.routes)
    return frozenset(resources)


def _inside(
    veth: Veth, allocation: Allocation, configured: tuple[tuple[str, str], ...]
) -> set[Resource]:
    """Return what the pod's own network stack has."""
    return {
        Loopback(veth.key),
        *(Address(veth.key, veth.pod, address) for address in allocation.addresses),
        *_routes(veth, allocation, configured),
        *_settings(veth, allocation.addresses),
    }


def port(attachment: Attachment, allocation: Allocation, node: Node, name: str) -> Port:
    """Return the OVS port, labelled as Kube-OVN labels its ports so that its tools find it."""
    external_ids = {
        MARK: attachment.mark,
        fixed.KEY: fixed.Fixed.of(allocation, attachment).encode(),
        "iface-id": attachment.iface_id,
        "vendor": "kube-ovn",
        "pod_name": attachment.machine or attachment.pod,
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
    """Return connected routes of our own, then the default and custom routes, each with its source.

    A route without a source would use a foreign address that was added before ours. The pod's own
    routes take precedence over those of the network configuration. Of two interfaces in one subnet,
    or with a default route each, those of the first are in front. IPv6 would join default routes of
    one metric into one with several next hops.
    """
    sources = {address.version: address for address in allocation.addresses}
    routes = {
        address.network: Route(
            veth.key, veth.pod, address.network, None, address.ip, _later(veth.pod)
        )
        for address in allocation.addresses
        if address.network.prefixlen < address.network.max_prefixlen
    }
    for gateway in allocation.gateways if allocation.default_route else ():
        default = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
        source = sources[gateway.version].ip
        routes[default] = Route(veth.key, veth.pod, default, gateway, source, _later(veth.pod))
    for custom in allocation.routes:
        source = sources[custom.via.version].ip
        routes.setdefault(
            custom.destination, Route(veth.key, veth.pod, custom.destination, custom.via, source)
        )
    for destination, gateway in ((ip_network(to), ip_address(via)) for to, via in configured):
        address = sources.get(gateway.version)
        if address is not None and gateway in address.network:  # the kernel refuses any other
            routes.setdefault(
                destination, Route(veth.key, veth.pod, destination, gateway, address.ip)
            )
    return set(routes.values())


def _later(ifname: str) -> int:
    """Return what the interface's order adds to the metric: nothing for `eth0`, 101 for `net1`.

    The order is that of the numbers at the end of the names.
    """
    if ifname == "eth0":
        return 0
    digits = ifname[len(ifname.rstrip("0123456789")) :]
    return LATER[int(digits or 0) % len(LATER)]


def _settings(veth: Veth, addresses: tuple[Interface, ...]) -> set[Sysctl]:
    """Return the IPv6 settings of the pod's interface.

    A runtime may disable IPv6 in new sandboxes. Router advertisements are off because OVN does not
    set the default route with them.
    """
    if not any(address.version == 6 for address in addresses):
        return set()
    return {
        Sysctl(veth.key, f"ipv6/conf/{veth.pod}/disable_ipv6", "0"),
        Sysctl(veth.key, f"ipv6/conf/{veth.pod}/accept_ra", "0"),
    }
