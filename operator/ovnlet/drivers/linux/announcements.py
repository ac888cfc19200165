"""Frames that announce an address, and the packet socket that sends them.

They go out as raw frames: the kernel would first resolve or look up a route, and has no call that
announces an address.
"""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

_ARP, _IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1").packed
# The Ethernet address of ff02::1 (RFC 2464, section 7).
_ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
_ICMPV6, _ADVERTISEMENT, _OVERRIDE, _TARGET_MAC = 58, 136, 0x20000000, 2


def frame(mac: str, address: IPv4Address | IPv6Address) -> bytes:
    """Return the Ethernet frame by which ``mac`` announces that it has the address."""
    own = bytes.fromhex(mac.replace(":", ""))
    return _gratuitous_arp(own, address) if address.version == 4 else _advertisement(own, address)


def sent(link: str, frames: Iterable[bytes]) -> socket.socket:
    """Send the frames on a link of this network namespace, and return the socket still open.

    Closing it waits for an RCU grace period (packet_release calls synchronize_net), which can take
    10 ms and more. Raise OSError without the link, or if the kernel takes no frame.
    """
    # Protocol 0: it receives nothing.
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        wire.bind((link, 0))
        for each in frames:
            wire.send(each)
    except OSError:
        wire.close()
        raise
    return wire


def _gratuitous_arp(own: bytes, address: IPv4Address) -> bytes:
    """Return an ARP request for the sender's own address: an announcement of RFC 5227, 2.3."""
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body = header + own + address.packed + bytes(6) + address.packed
    return _BROADCAST + own + struct.pack("!H", _ARP) + body


def _advertisement(own: bytes, address: IPv6Address) -> bytes:
    """Return an unsolicited neighbour advertisement (RFC 4861, 7.2.6) that overrides caches."""
    option = struct.pack("!BB", _TARGET_MAC, 1) + own
    rest = struct.pack("!I", _OVERRIDE) + address.packed + option
    length = 4 + len(rest)
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", length, _ICMPV6)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + rest
    summed = checksum(pseudo + message)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, summed) + rest
    # Hop limit 255: receivers drop anything else, which a router might have passed on.
    header = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, 255) + address.packed + _ALL_NODES
    return _ALL_NODES_MAC + own + struct.pack("!H", _IPV6) + header + message


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
