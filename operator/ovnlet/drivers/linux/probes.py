"""Frames that ask whether somebody has an address already, and frames by which others claim it.

An address is asked for before it is used: ARP probes of RFC 5227 (2.1.1) without a sender's address
for IPv4, neighbour solicitations of RFC 4862 (5.4.2) from the unspecified address for IPv6. Neither
changes what a neighbour believes.
"""

import struct
from ipaddress import IPv4Address, IPv6Address

from ovnlet.drivers.linux.announcements import checksum

_ARP, _IPV6, _ICMPV6 = 0x0806, 0x86DD, 58
# Hardware type Ethernet, protocol type IPv4, and the sizes of both addresses.
_ARP_OF_ETHERNET = struct.pack("!HHBB", 1, 0x0800, 6, 4)
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITED = bytes.fromhex("ff0200000000000000000001ff")


def probe(mac: str, address: IPv4Address | IPv6Address) -> bytes:
    """Return the Ethernet frame by which ``mac`` asks who has the address."""
    own = bytes.fromhex(mac.replace(":", ""))
    if address.version == 4:
        body = _ARP_OF_ETHERNET + struct.pack("!H", 1) + own + bytes(10) + address.packed
        return b"\xff" * 6 + own + struct.pack("!H", _ARP) + body
    group = _SOLICITED + address.packed[-3:]
    pseudo = bytes(16) + group + struct.pack("!II", 24, _ICMPV6)
    message = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed
    summed = struct.pack("!H", checksum(pseudo + message))
    # Hop limit 255: receivers drop anything else, which a router might have passed on.
    header = struct.pack("!IHBB", 6 << 28, 24, _ICMPV6, 255) + bytes(16) + group
    ethernet = b"\x33\x33" + group[-4:] + own + struct.pack("!H", _IPV6)
    return ethernet + header + message[:2] + summed + message[4:]


def claimant(frame: bytes, address: IPv4Address | IPv6Address) -> str | None:
    """Return the MAC of who has the address or is about to take it; None if it is not claimed.

    It may be the own one: switches and OVN send frames back.
    """
    kind = frame[12:14]
    if address.version == 4 and kind == struct.pack("!H", _ARP) and len(frame) >= 42:
        return _by_arp(frame, address.packed)
    if address.version == 6 and kind == struct.pack("!H", _IPV6) and len(frame) >= 78:
        return _by_neighbour_discovery(frame, address.packed)
    return None


def _by_arp(frame: bytes, address: bytes) -> str | None:
    sender, asked = frame[28:32], frame[38:42]
    if frame[14:20] != _ARP_OF_ETHERNET or frame[20:21] != b"\0":
        return None
    probes = frame[21] == 1 and sender == bytes(4) and asked == address
    return frame[22:28].hex(":") if sender == address or probes else None


def _by_neighbour_discovery(frame: bytes, address: bytes) -> str | None:
    if frame[20] != _ICMPV6 or frame[62:78] != address:
        return None
    probes = frame[54] == _SOLICITATION and frame[22:38] == bytes(16)
    return frame[6:12].hex(":") if frame[54] == _ADVERTISEMENT or probes else None
