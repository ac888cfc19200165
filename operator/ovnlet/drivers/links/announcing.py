"""Announce the addresses of a pod from inside its network namespace."""

import asyncio

from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Address, Network, Veth
from ovnlet.drivers.links.pod import os_errors_as_node_faults
from ovnlet.drivers.linux.announcements import frame, sent
from ovnlet.drivers.linux.namespaces import entered, opened


async def announce(attachment: Attachment, network: Network) -> None:
    """Send one announcement for each address of ``network``, by the MAC of its veth.

    Return once the socket is closed, also if cancelled: it would keep the namespace of a dead pod
    alive. Raise NodeFault if the kernel refuses, UnknownSandbox without the sandbox.
    """
    for veth in (each for each in network if isinstance(each, Veth)):
        addresses = sorted(
            (each.ip.ip for each in network if isinstance(each, Address)),
            key=lambda ip: (ip.version, ip.packed),
        )
        frames = [frame(veth.mac, address) for address in addresses]
        with os_errors_as_node_faults(attachment):
            with opened(attachment.netns) as netns, entered(netns):
                wire = sent(veth.pod, frames)
            closing = asyncio.ensure_future(asyncio.to_thread(wire.close))
            try:
                await asyncio.shield(closing)
            finally:
                await closing
