"""Ask on the wire, from inside a pod's network namespace, who else has the pod's addresses."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Address, Network, Veth
from ovnlet.drivers.links.pod import os_errors_as_node_faults
from ovnlet.drivers.linux.namespaces import entered, opened
from ovnlet.drivers.linux.probes import claimant, probe

# RFC 5227 has three probes too, but takes up to seven seconds for them. It is made for machines
# that come up at once, and links that take seconds to forward.
PROBES, EVERY = 3, 0.4
_ALL, _LONGEST = 3, 2048


async def other_holder(attachment: Attachment, network: Network) -> tuple[str, str] | None:
    """Return an address of ``network`` that another machine has, and its MAC; None without one.

    It takes 1.2 s, or less if somebody answers. Return once the socket is closed, also if
    cancelled: it would keep the namespace of a dead pod alive. Raise NodeFault if the kernel
    refuses, UnknownSandbox without the sandbox.
    """
    veth = next((each for each in network if isinstance(each, Veth)), None)
    addresses = sorted(
        (each.ip.ip for each in network if isinstance(each, Address)),
        key=lambda ip: (ip.version, ip.packed),
    )
    if veth is None or not addresses:
        return None
    with os_errors_as_node_faults(attachment):
        with opened(attachment.netns) as netns, entered(netns):
            wire = _on(veth.pod)
        try:
            return await _asked(wire, veth.mac, addresses)
        finally:
            # It waits for an RCU grace period (packet_release).
            closing = asyncio.ensure_future(asyncio.to_thread(wire.close))
            try:
                await asyncio.shield(closing)
            finally:
                await closing


def _on(link: str) -> socket.socket:
    """Return a socket for all frames of a link of this network namespace. Raise OSError."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        # Protocol 0 until it is bound: no frame of another link is taken.
        wire.bind((link, _ALL))
    except OSError:
        wire.close()
        raise
    return wire


async def _asked(
    wire: socket.socket, mac: str, addresses: Sequence[IPv4Address | IPv6Address]
) -> tuple[str, str] | None:
    """Send the probes, and return who answers. Raise OSError."""
    frames = [probe(mac, each) for each in addresses]
    for _ in range(PROBES):
        for each in frames:
            wire.send(each)
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                return await _answered(wire, mac.lower(), addresses)
    return None


async def _answered(
    wire: socket.socket, mac: str, addresses: Sequence[IPv4Address | IPv6Address]
) -> tuple[str, str]:
    """Return the first address that a frame of another machine claims, and its MAC."""
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.sock_recv(wire, _LONGEST)
        for each in addresses:
            if (other := claimant(data, each)) is not None and other != mac:
                return str(each), other
        await asyncio.sleep(0)  # frames that never end must not keep the loop
