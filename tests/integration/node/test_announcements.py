"""Announcements on the wire, seen by a packet socket and by the neighbour cache of a peer."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from integration.node.spaces import CONTAINER, DUAL, MAC, Bed, network
from ovnlet.core.errors import NodeFault, UnknownSandbox
from ovnlet.core.resources import Network
from ovnlet.drivers.links.announcing import announce

WANTED: Network = network(*DUAL)
OTHER = "02:00:00:00:00:99"
_EVERY = 3  # ETH_P_ALL


@contextmanager
def wire(bed: Bed) -> Iterator[socket.socket]:
    """Yield a packet socket on the node's end of the pod's link."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY)) as reader:
        reader.bind((bed.host, _EVERY))
        reader.settimeout(1)
        yield reader


def received(reader: socket.socket) -> list[tuple[str, str, str]]:
    """Return kind, source MAC and announced address of each announcement within a second."""
    found = []
    try:
        while True:
            data, (_, _, direction, *_) = reader.recvfrom(2048)
            if direction != socket.PACKET_OUTGOING and (read := announcement(data)):
                found.append(read)
    except TimeoutError:
        return found


def announcement(data: bytes) -> tuple[str, str, str] | None:
    """Return kind, source MAC and address of an announcement, None for any other frame."""
    source, kind = data[6:12].hex(":"), struct.unpack_from("!H", data, 12)[0]
    if kind == 0x0806 and data[28:32] == data[38:42]:
        return "ARP", source, str(ip_address(data[28:32]))
    if kind == 0x86DD and data[20] == 58 and data[54] == 136:
        return "NA", source, str(ip_address(data[62:78]))
    return None


async def test_each_address_is_announced_once_and_an_observation_announces_nothing(
    bed: Bed,
) -> None:
    await bed.converge(WANTED)
    with wire(bed) as reader:
        await announce(bed.attachment, WANTED)
        assert received(reader) == [("ARP", MAC, "10.16.0.5"), ("NA", MAC, "fd00::5")]
        assert await bed.converge(WANTED) == ()
        assert received(reader) == []


async def test_a_peer_replaces_the_mac_that_it_had_in_its_cache(bed: Bed) -> None:
    """The kernel itself reads the frames: a wrong checksum or hop limit would change nothing."""
    await bed.converge(WANTED)
    bed.node.ip("address", "add", "10.16.0.1/16", "dev", bed.host)
    bed.node.ip("address", "add", "fd00::1/64", "dev", bed.host, "nodad")
    for address in ("10.16.0.5", "fd00::5"):
        words = ("lladdr", OTHER, "dev", bed.host, "nud", "stale")
        bed.node.ip("neighbour", "replace", address, *words)
    # The kernel believes no second announcement within a second of the last change (locktime).
    bed.node.set(f"ipv4/neigh/{bed.host}/locktime", "0")

    def cached() -> dict[str, str]:
        rows = bed.node.json("neighbour", "show", "dev", bed.host)
        return {row["dst"]: row["lladdr"] for row in rows if "lladdr" in row}

    assert cached() == {"10.16.0.5": OTHER, "fd00::5": OTHER}
    await announce(bed.attachment, WANTED)
    assert cached() == {"10.16.0.5": MAC, "fd00::5": MAC}


async def test_no_descriptor_is_left(bed: Bed) -> None:
    await bed.converge(WANTED)
    await announce(bed.attachment, WANTED)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await announce(bed.attachment, WANTED)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_link_that_is_down_or_gone_is_an_error_of_the_node(bed: Bed) -> None:
    await bed.converge(WANTED)
    before = len(os.listdir("/proc/self/fd"))
    bed.pod.ip("link", "set", "eth0", "down")
    with pytest.raises(NodeFault, match="ENETDOWN"):
        await announce(bed.attachment, WANTED)
    bed.pod.ip("link", "delete", "eth0")
    with pytest.raises(NodeFault, match=CONTAINER):
        await announce(bed.attachment, WANTED)
    bed.pod.delete()
    with pytest.raises(UnknownSandbox):
        await announce(bed.attachment, WANTED)
    assert len(os.listdir("/proc/self/fd")) == before
