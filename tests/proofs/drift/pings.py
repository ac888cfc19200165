"""A packet every 20 ms from a sample of pods, and the longest time without an answer."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from proofs.drift.faults import GATEWAYS
from proofs.drift.observe import Target
from testbed.bed import Bed
from testbed.service import Service

EVERY = 0.02
_ANSWER = re.compile(r"\[(\d+\.\d+)\] .*icmp_seq=(\d+) ttl")
_SENT = re.compile(r"(\d+) packets transmitted")


@dataclass(frozen=True, slots=True)
class Window:
    """The pings of one pod to one address: sent, lost, and the longest outage in milliseconds.

    ``gaps`` are the runs of lost packets: the time of the last answer before, by the node's clock,
    and how many.
    """

    pod: str
    address: str
    sent: int
    lost: int
    outage_ms: float
    gaps: tuple[tuple[float, int], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the result as raw evidence."""
        counts = {"sent": self.sent, "lost": self.lost, "ms": self.outage_ms, "gaps": self.gaps}
        return {"pod": self.pod, "address": self.address, **counts}


class Pings:
    """Running pings to both gateways from each pod of the sample. They end with `stop`.

    They are services of the node, so that the node may be a virtual machine. ``addresses`` are
    those of each pod, in place of the gateways. The packets of the last ``under_way`` seconds do
    not count as lost.
    """

    def __init__(
        self,
        bed: Bed,
        targets: Sequence[Target],
        evidence: Path,
        addresses: Mapping[str, Sequence[str]] = {},
        under_way: float = EVERY,
    ) -> None:
        self._running: list[tuple[Target, str, Service]] = []
        self._evidence, self._under_way = evidence, under_way
        node = bed.node()
        for target in targets:
            for number, address in enumerate(addresses.get(target.pod, GATEWAYS)):
                name = f"ping-{target.pod}-{number}-{'6' if ':' in address else '4'}"
                node.log(name).unlink(missing_ok=True)
                entered = ["nsenter", f"--net={target.netns}"]
                words = [*entered, "ping", "-n", "-D", "-i", str(EVERY), address]
                self._running.append((target, address, node.spawn(name, words)))

    def stop(self) -> list[Window]:
        """End the pings, and return a window for each. Keep what they printed as evidence."""
        self._evidence.mkdir(parents=True, exist_ok=True)
        windows = []
        for target, address, service in self._running:
            service.stop(signal.SIGINT)
            text = service.log.read_text()
            (self._evidence / f"{service.name}.txt").write_text(text)
            windows.append(window(target.pod, address, text, self._under_way))
        return windows


def window(pod: str, address: str, text: str, under_way: float = EVERY) -> Window:
    """Parse ping's output. The packets of the last ``under_way`` seconds may still be answered."""
    answered = {int(number): float(at) for at, number in _ANSWER.findall(text)}
    summary_line = _SENT.search(text)
    sent = int(summary_line[1]) if summary_line else 0
    judged = max(sent - round(under_way / EVERY), *answered) if answered else sent
    known = [(0, 0.0), *sorted(answered.items()), (judged + 1, 0.0)]
    gaps = [(at, later - earlier - 1) for (earlier, at), (later, _) in pairwise(known)]
    counts = [count for _, count in gaps]
    longest = max(counts) * EVERY * 1000
    return Window(pod, address, sent, sum(counts), longest, tuple(gap for gap in gaps if gap[1]))


def summary(windows: Sequence[Window]) -> str:
    """Return the median and the longest outage of all pods, and the lost packets, as text."""
    longest = sorted(window.outage_ms for window in windows)
    lost, sent = sum(window.lost for window in windows), sum(window.sent for window in windows)
    outage = f"median {longest[len(longest) // 2]:.0f} ms, longest {longest[-1]:.0f} ms"
    return f"{outage}; {lost} of {sent} packets lost on {len(windows)} pings"
