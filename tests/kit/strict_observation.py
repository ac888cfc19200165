"""Links, addresses and settings of the strict kernel as the drivers observe them."""

from collections.abc import Iterator

from kit.strict_links import Link
from ovnlet.core.resources import Address, Loopback, Network, Offload, Sysctl, Veth
from ovnlet.core.resources.netlink import PROTOCOL


def veth(host: Link, pod: Link, desired: Network) -> Veth:
    """Return our veth pair; where its ends differ, with the value that is not the desired one."""
    wanted = next((resource for resource in desired if isinstance(resource, Veth)), None)
    mtu = host.mtu if wanted and pod.mtu == wanted.mtu else pod.mtu
    alias = host.alias if wanted and pod.alias == wanted.alias else pod.alias
    return Veth(host.name, pod.name, pod.mac, mtu, alias, host.up, pod.up, pod.arp)


def addresses(veth: Veth, pod: Link, desired: Network) -> Iterator[Address]:
    """Yield the desired addresses that are there, and those with our protocol."""
    wanted = {resource.ip.ip for resource in desired if isinstance(resource, Address)}
    for held in pod.addresses:
        if held.ip.ip in wanted or held.protocol == PROTOCOL:
            yield Address(veth.key, pod.name, held.ip, held.noprefixroute)


def loopback(veth: Veth, up: bool, desired: Network) -> Iterator[Loopback]:
    """Yield the pod's `lo` if one is desired."""
    if any(isinstance(resource, Loopback) for resource in desired):
        yield Loopback(veth.key, up)


def settings(veth: Veth, pod: Link, desired: Network) -> Iterator[Sysctl | Offload]:
    """Yield the present values of the desired settings."""
    for resource in desired:
        if isinstance(resource, Offload) and resource.pod == pod.name:
            yield Offload(veth.key, pod.name, pod.tx_checksum)
        if isinstance(resource, Sysctl):
            *_, link, name = resource.name.split("/")
            if link == pod.name and name in pod.settings:
                yield Sysctl(veth.key, resource.name, pod.settings[name])
