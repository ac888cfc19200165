"""A packet every 20 ms from a sample of pods, and the longest time without an answer."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from proofs.drift.faults import GATEWAYS
from proofs.drift.observe import Target
from testbed.bed import Bed
from testbed.space import Inside

EVERY = 0.02
_ANSWER = re.compile(r"icmp_seq=(\d+) ttl")
_SENT = re.compile(r"(\d+) packets transmitted")


@dataclass(frozen=True, slots=True)
class Window:
    """The pings of one pod to one address: sent, lost, and the longest outage in milliseconds."""

    pod: str
    address: str
    sent: int
    lost: int
    outage_ms: float

    def as_json(self) -> dict[str, str | int | float]:
        """Return the result as raw evidence."""
        counts = {"sent": self.sent, "lost": self.lost, "ms": self.outage_ms}
        return {"pod": self.pod, "address": self.address, **counts}


class Pings:
    """Running pings to both gateways from each pod of the sample. They end with `stop`."""

    def __init__(self, bed: Bed, targets: Sequence[Target], evidence: Path) -> None:
        self._running: list[tuple[Target, str, Path, Inside]] = []
        evidence.mkdir(parents=True, exist_ok=True)
        for target in targets:
            for address in GATEWAYS:
                log = evidence / f"ping-{target.pod}-{'6' if ':' in address else '4'}.txt"
                words = [
                    "nsenter",
                    f"--net={target.netns}",
                    "ping",
                    "-n",
                    "-i",
                    str(EVERY),
                    address,
                ]
                fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
                process = bed.node().popen(words, stdout=fd, stderr=fd)
                os.close(fd)
                self._running.append((target, address, log, process))

    def stop(self) -> list[Window]:
        """End the pings, and return a window for each."""
        for *_, process in self._running:
            process.send_signal(signal.SIGINT)
        for *_, process in self._running:
            process.wait(timeout=10)
        return [
            _window(target.pod, address, log.read_text())
            for target, address, log, _ in self._running
        ]


def _window(pod: str, address: str, text: str) -> Window:
    """Parse ping's output. A last packet that may still be under way is not counted."""
    answered = [int(number) for number in _ANSWER.findall(text)]
    summary_line = _SENT.search(text)
    sent = int(summary_line[1]) if summary_line else 0
    last = max(sent - 1, *answered) if answered else sent
    gaps = [later - earlier - 1 for earlier, later in pairwise([0, *answered, last + 1])]
    return Window(pod, address, sent, sum(gaps), max(gaps) * EVERY * 1000)


def summary(windows: Sequence[Window]) -> str:
    """Return the median and the longest outage of all pods, and the lost packets, as text."""
    longest = sorted(window.outage_ms for window in windows)
    lost, sent = sum(window.lost for window in windows), sum(window.sent for window in windows)
    outage = f"median {longest[len(longest) // 2]:.0f} ms, longest {longest[-1]:.0f} ms"
    return f"{outage}; {lost} of {sent} packets lost on {len(windows)} pings"
