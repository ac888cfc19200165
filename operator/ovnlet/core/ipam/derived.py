"""The MAC and the IPv6 address that follow from the address that a claim asks for."""

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.claims import AddressRequest, Binding
from ovnlet.core.ipam.subnets import Subnet

# First octets of locally administered unicast MACs (IEEE 802: bit 1 is set, bit 0 is not).
_FIRST = range(0x0A, 0x100, 4)


def bindings(request: AddressRequest, subnet: Subnet) -> Iterator[Binding]:
    """Yield what completes a request for an address, in the order in which it is to be tried.

    There is one if the request has a MAC. Otherwise MACs are made of the address' low 32 bits.
    """
    # A subnet has IPv4 first, so what is left is its IPv6 network, or nothing.
    rest = [n for n in subnet.networks[len(request.addresses) :] if isinstance(n, IPv6Network)]
    for mac in (request.mac,) if request.mac else _macs(request.addresses[0]):
        yield Binding(mac, (*request.addresses, *(interface_address(n, mac) for n in rest)))


def interface_address(network: IPv6Network, mac: str) -> IPv6Address:
    """Return the address of a /64 that follows from a MAC (EUI-64; RFC 4291, appendix A).

    OVN derives the IPv6 addresses that it chooses in the same way.
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    low = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return network.network_address + int.from_bytes(low)


def _macs(address: Address) -> Iterator[str]:
    low = address.packed[-4:]
    return (bytes((first, 0x58, *low)).hex(":") for first in _FIRST)
