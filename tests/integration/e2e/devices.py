"""UDP between two pods over one interface of each: both sockets are bound to it (SO_BINDTODEVICE).

Two interfaces of a pod may be in one subnet, where the route alone would choose the first.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.service import wait_for
from testbed.workloads import Running

PORT = 7007
PROGRAM = ["/usr/bin/python3", "-I", str(Path(__file__).with_name("bound_udp.py"))]


@contextmanager
def answering(pod: Running, device: str) -> Iterator[None]:
    """Answer each packet that comes in by the interface, for as long as the block lasts."""
    process = pod.popen(*PROGRAM, "serve", device)
    try:
        look = ("ss", "-Hlun", f"sport = :{PORT}")
        wait_for(lambda: f"%{device}:" in pod.inside(*look), "the socket", timeout=20)
        yield
    finally:
        process.kill()
        process.communicate(timeout=10)


def reaches(pod: Running, device: str, address: str) -> bool:
    """Return whether one of five packets is answered, each within 0.5 s."""
    done = pod.space.result(pod.enter(*PROGRAM, "ask", device, address))
    return done.returncode == 0


def received(sender: Running, receiver: Running, device: str, address: str) -> float:
    """Return the Mbit/s of TCP that arrive by one interface of each, after two seconds of it."""
    server = receiver.popen("iperf3", "-s", "-1", "-p", "5400", "--bind-dev", device)
    try:
        look = ("ss", "-Hltn", "sport = :5400")
        wait_for(lambda: receiver.inside(*look), "iperf3 to listen", timeout=20)
        words = ("-p", "5400", "--bind-dev", device, "-O", "2", "-t", "5", "-J")
        report = json.loads(sender.inside("iperf3", "-c", address, *words))
        return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6
    finally:
        server.kill()
        server.communicate(timeout=10)
