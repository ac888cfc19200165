"""Traffic between two pods, measured by a program on the pods' node.

`python -m proofs.kernel.traffic rate|loss|iperf ...` prints one JSON object. Standard library
only: an emulated processor starts it for each measurement.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.qos import steady

PORT = "5201"
LISTEN_TIMEOUT = 60.0
# The sender's and the receiver's namespace, and the receiver's address.
Ends = tuple[str, str, str]


def enter(netns: str, *words: str) -> list[str]:
    """Return the command line that runs a program in a named network namespace."""
    return ["nsenter", f"--net=/run/netns/{netns}", *words]


@contextmanager
def server(receiver: str) -> Iterator[int]:
    """Run an iperf3 server in a namespace, and give its PID once it process."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        enter(receiver, "iperf3", "-s", "-p", PORT), stdout=quiet, stderr=quiet
    )
    try:
        end = time.monotonic() + LISTEN_TIMEOUT
        listening = enter(receiver, "ss", "-Hltn")
        while (
            PORT
            not in subprocess.run(listening, check=False, capture_output=True, text=True).stdout
        ):
            if time.monotonic() > end:
                raise SystemExit("iperf3 does not listen")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def flow(sender: str, receiver: str, address: str, *words: str) -> Iterator[int]:
    """Run iperf3 between two namespaces, and give the PID of a process in the receiver's."""
    quiet = subprocess.DEVNULL
    with server(receiver) as pid:
        command = enter(sender, "iperf3", "-c", address, "-p", PORT, "-t", "600", *words)
        client = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        try:
            yield pid
        finally:
            client.kill()
            client.wait()


def rate(ends: Ends, spent: float, seconds: float, words: list[str]) -> dict[str, float]:
    """Return what arrives in steady state, in Mbit/s.

    With it the longest stall in ms, and the share of time that the processors were idle.
    """
    with flow(*ends, *words) as pid:
        before = idle()
        found = steady.measure(pid, spent, seconds)
        spare = [now - then for now, then in zip(idle(), before, strict=True)]
    return {"mbit": found.mbit, "stall": found.stall * 1000, "idle": spare[0] / sum(spare)}


def idle() -> tuple[int, int]:
    """Return the ticks that the processors were idle, and those that they were not."""
    with open("/proc/stat") as file:
        spent = list(map(int, file.readline().split()[1:9]))
    return spent[3], sum(spent) - spent[3]


def loss(ends: Ends, seconds: float, words: list[str]) -> dict[str, int]:
    """Return the packets that left the sender's interface and those that arrived at the other.

    Counting goes on until the flow has ended and nothing is on the way.
    """
    sender, receiver, _ = ends
    holder = subprocess.Popen(enter(sender, "sleep", "600"))
    try:
        with flow(*ends, *words) as pid:
            left, came = steady.counted(holder.pid)["tx_packets"], steady.counted(pid)["rx_packets"]
            time.sleep(seconds)
        watcher = subprocess.Popen(enter(receiver, "sleep", "600"))
        try:
            time.sleep(2)
            return {
                "left": steady.counted(holder.pid)["tx_packets"] - left,
                "came": steady.counted(watcher.pid)["rx_packets"] - came,
            }
        finally:
            watcher.kill()
            watcher.wait()
    finally:
        holder.kill()
        holder.wait()


def iperf(ends: Ends, seconds: float, words: list[str]) -> dict[str, float]:
    """Return what iperf3 itself reports of a flow that it has ended.

    The payload in Mbit/s, with TCP the retransmitted segments, with UDP the datagrams lost in
    percent.
    """
    sender, receiver, address = ends
    with server(receiver):
        command = [
            "iperf3",
            "-c",
            address,
            "-p",
            PORT,
            "-J",
            "-O",
            "2",
            "-t",
            f"{seconds:g}",
            *words,
        ]
        output = subprocess.run(
            enter(sender, *command), check=True, capture_output=True, text=True
        ).stdout
    end = json.loads(output)["end"]
    came, sent = end.get("sum_received") or end["sum"], end.get("sum_sent") or end["sum"]
    lost = (
        {"lost_percent": came["lost_percent"]}
        if "-u" in words
        else {"retransmits": sent["retransmits"]}
    )
    return {"goodput_mbit": came["bits_per_second"] / 1e6, **lost}


def main() -> None:
    parser = argparse.ArgumentParser(prog="proofs.kernel.traffic", description=__doc__)
    parser.add_argument("what", choices=("rate", "loss", "iperf"))
    parser.add_argument("sender")
    parser.add_argument("receiver")
    parser.add_argument("address", help="the receiver's")
    parser.add_argument("--spent", type=float, default=steady.SPENT)
    parser.add_argument("--seconds", type=float, default=steady.COUNTED)
    parser.add_argument(
        "--udp", default="", help="the offered rate, as iperf3 takes it; without it TCP"
    )
    parser.add_argument("--length", default="1300", help="of a UDP datagram, in bytes")
    asked = parser.parse_args()
    words = ["-u", "-b", asked.udp, "-l", asked.length] if asked.udp else []
    ends = (asked.sender, asked.receiver, asked.address)
    found: dict[str, float] | dict[str, int]
    match asked.what:
        case "rate":
            found = rate(ends, asked.spent, asked.seconds, words)
        case "loss":
            found = loss(ends, asked.seconds, words)
        case _:
            found = iperf(ends, asked.seconds, words)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
