"""SCTP without the kernel's help: INIT and INIT ACK by raw sockets (RFC 9260, section 3.3).

Many kernels have no SCTP. OVN's load balancer and connection tracking see the same packets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from integration.e2e.service_traffic import COUNT, Answers, answers, ended
from testbed.workloads import Running

_PACKETS = """
import collections, json, socket, struct, sys, time
SCTP, INIT, INIT_ACK, COOKIE = 132, 1, 2, 7
def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
def packet(source, target, tag, kind, own_tag, more=b""):
    chunk = struct.pack("!BBHIIHHI", kind, 0, 20 + len(more), own_tag, 65536, 1, 1, 1) + more
    head = struct.pack("!HHI", source, target, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk
def received(link, family):
    data, peer = link.recvfrom(2048)
    if family == socket.AF_INET:  # a raw socket of IPv4 receives the IP header as well
        data = data[(data[0] & 15) * 4:]
    source, target, tag = struct.unpack("!HHI", data[:8])
    good = crc32c(data[:8] + bytes(4) + data[12:]) == struct.unpack("<I", data[8:12])[0]
    return peer[0], source, target, data[12], data[12:], good
"""
# Answers each INIT with an INIT ACK whose cookie says who answers, and whom it sees.
SERVE = (
    _PACKETS
    + """
import selectors
name, port = sys.argv[1], int(sys.argv[2])
found = selectors.DefaultSelector()
for family in (socket.AF_INET, socket.AF_INET6):
    link = socket.socket(family, socket.SOCK_RAW, SCTP)
    found.register(link, selectors.EVENT_READ, family)
print("listening", flush=True)
while True:
    for key, _ in found.select():
        peer, source, target, kind, chunk, good = received(key.fileobj, key.data)
        if (target, kind, good) == (port, INIT, True):
            text = f"{name} {peer}".encode()
            text += bytes(-len(text) % 4)
            cookie = struct.pack("!HH", COOKIE, 4 + len(text)) + text
            tag = struct.unpack("!I", chunk[4:8])[0]
            key.fileobj.sendto(packet(port, source, tag, INIT_ACK, 7, cookie), (peer, 0))
"""
)
# Sends an INIT from so many ports, and counts the answers that come from where it was sent to.
ASK = (
    _PACKETS
    + """
host, port, count, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
seen, slowest = collections.Counter(), 0
link = socket.socket(family, socket.SOCK_RAW, SCTP)
for own in range(30000, 30000 + count):
    began = time.monotonic()
    link.sendto(packet(own, port, 0, INIT, own), (host, 0))
    text = "error TimeoutError"
    while (left := began + limit - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            peer, source, target, kind, chunk, good = received(link, family)
        except TimeoutError:
            break
        if (peer, source, target, kind, good) == (host, port, own, INIT_ACK, True):
            text = chunk[24:].rstrip(bytes(1)).decode()
            break
    seen[text] += 1
    slowest = max(slowest, time.monotonic() - began)
print(json.dumps([seen, slowest]))
"""
)


def ask(client: Running, host: str, port: int, count: int = COUNT) -> Answers:
    """Send so many INITs to a Service from a pod; each is an association of its own."""
    timeout = 3.0
    script = [sys.executable, "-c", ASK, host, str(port), str(count), str(timeout)]
    return answers(client, script, 60 + count * timeout)


@contextmanager
def serving(server: Running, port: int) -> Iterator[None]:
    """Answer INITs in a pod."""
    process = server.popen(sys.executable, "-c", SERVE, server.name, str(port))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield
    finally:
        ended(process)
