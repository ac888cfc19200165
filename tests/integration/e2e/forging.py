"""Frames as a pod may send them, honest and forged, and which of them reach another pod."""

import re
import signal
import sys
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address
from typing import IO

from testbed.service import wait_for
from testbed.workloads import Running

PORT, COUNT = 9999, 20
# UDP from one MAC and address to another, 20 ms apart. UDP checksums are 0: tcpdump does not need
# them.
SEND = """
import socket, struct, sys, time
out, inn, source, target, port, count = sys.argv[1:]
mac = lambda text: bytes.fromhex(text.replace(":", ""))
family = socket.AF_INET6 if ":" in source else socket.AF_INET
ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
data = struct.pack("!HHHH", int(port), int(port), 16, 0) + b"ovnlet: "
if family == socket.AF_INET6:
    head, kind = struct.pack("!IHBB", 6 << 28, len(data), 17, 64) + ends, 0x86DD
else:
    head, kind = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, 64, 17, 0) + ends, 0x0800
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", 0xFFFF - ((total & 0xFFFF) + (total >> 16))) + head[12:]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", kind))
for _ in range(int(count)):
    link.send(mac(inn) + mac(out) + struct.pack("!H", kind) + head + data)
    time.sleep(0.02)
"""
SEEN = re.compile(r"^\S+ (\S+) > \S+ .*?: (\S+)\.\d+ > ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sender:
    """The source that a frame claims to have."""

    mac: str
    address: str


def own_addresses(each: Running) -> list[Sender]:
    """Return the MAC and addresses that a pod's port is pinned to, one sender for each family."""
    return [Sender(each.mac, address) for address in each.ips]


def arrived(one: Running, other: Running, senders: list[Sender]) -> dict[Sender, int]:
    """Send frames from one pod to another as each sender; return how many of each arrive."""
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed below; a pipe would fill up
    words = ["tcpdump", "-n", "-e", "-l", "-i", "eth0", "udp", "port", str(PORT)]
    with output, other.popen(*words, stdout=output.fileno(), stderr=output.fileno()) as dump:
        wait_for(lambda: "listening on" in _read(output), "tcpdump to listen", timeout=15)
        for sender in senders:
            (target,) = [
                ip
                for ip in other.ips
                if ip_address(ip).version == ip_address(sender.address).version
            ]
            script = [
                sys.executable,
                "-c",
                SEND,
                sender.mac,
                other.mac,
                sender.address,
                target,
                str(PORT),
                str(COUNT),
            ]
            one.inside(*script)
        dump.send_signal(signal.SIGINT)
        dump.wait(timeout=10)
        found = SEEN.findall(_read(output))
    return {sender: found.count((sender.mac, sender.address)) for sender in senders}


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
