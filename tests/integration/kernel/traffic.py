"""What arrives at a pod, measured by a program that is beside the pods: `python -m kernel.traffic rate|loss|told ...`.

Standard library only: it is started for each measurement, by an emulated processor. Prints one JSON object.
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
LISTENS = 60.0
# The sender's and the receiver's namespace, and the receiver's address.
Ends = tuple[str, str, str]


def enter(netns: str, *words: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{netns}", *words]


@contextmanager
def server(receiver: str) -> Iterator[int]:
    """iperf3 that listens; gives its pid."""
    quiet = subprocess.DEVNULL
    listens = subprocess.Popen(
        enter(receiver, "iperf3", "-s", "-p", PORT), stdout=quiet, stderr=quiet
    )
    try:
        end = time.monotonic() + LISTENS
        listening = enter(receiver, "ss", "-Hltn")
        while (
            PORT
            not in subprocess.run(listening, check=False, capture_output=True, text=True).stdout
        ):
            if time.monotonic() > end:
                raise SystemExit("iperf3 does not listen")
            time.sleep(0.1)
        yield listens.pid
    finally:
        listens.kill()
        listens.wait()


@contextmanager
def flow(sender: str, receiver: str, address: str, *words: str) -> Iterator[int]:
    """iperf3 between two namespaces; gives the pid of a process in the receiver's."""
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
    """Mbit/s that come in in steady state, the longest stall meanwhile in ms, and the processors' idle share."""
    with flow(*ends, *words) as pid:
        before = idle()
        found = steady.measure(pid, spent, seconds)
        spare = [now - then for now, then in zip(idle(), before, strict=True)]
    return {"mbit": found.mbit, "stall": found.stall * 1000, "idle": spare[0] / sum(spare)}


def idle() -> tuple[int, int]:
    """Ticks that the processors have been idle, and those that they were not."""
    with open("/proc/stat") as file:
        spent = list(map(int, file.readline().split()[1:9]))
    return spent[3], sum(spent) - spent[3]


def loss(ends: Ends, seconds: float, words: list[str]) -> dict[str, int]:
    """Packets that left one interface and came in at the other until the flow had ended and nothing was under way."""
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


def told(ends: Ends, seconds: float, words: list[str]) -> dict[str, float]:
    """What iperf3 itself tells of a flow that it ended: Mbit/s of payload, segments sent again, datagrams lost."""
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
        said = subprocess.run(
            enter(sender, *command), check=True, capture_output=True, text=True
        ).stdout
    end = json.loads(said)["end"]
    came, sent = end.get("sum_received") or end["sum"], end.get("sum_sent") or end["sum"]
    lost = (
        {"lost_percent": came["lost_percent"]}
        if "-u" in words
        else {"retransmits": sent["retransmits"]}
    )
    return {"goodput_mbit": came["bits_per_second"] / 1e6, **lost}


def main() -> None:
    parser = argparse.ArgumentParser(prog="integration.kernel.traffic", description=__doc__)
    parser.add_argument("what", choices=("rate", "loss", "told"))
    parser.add_argument("sender")
    parser.add_argument("receiver")
    parser.add_argument("address", help="the receiver's")
    parser.add_argument("--spent", type=float, default=steady.SPENT)
    parser.add_argument("--seconds", type=float, default=steady.COUNTED)
    parser.add_argument("--udp", default="", help="offered, as iperf3 has it; without it TCP")
    parser.add_argument("--length", default="1300", help="of a datagram of UDP")
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
            found = told(ends, asked.seconds, words)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
