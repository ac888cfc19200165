"""A packet every 20 ms from a sample of pods, and the longest time without an answer."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from proofs.drift.faults import GATEWAYS
from proofs.drift.observe import Target
from testbed.bed import Bed
from testbed.service import Service

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
    """Running pings to both gateways from each pod of the sample. They end with `stop`.

    They are services of the node, so that the node may be a virtual machine.
    """

    def __init__(self, bed: Bed, targets: Sequence[Target], evidence: Path) -> None:
        self._running: list[tuple[Target, str, Service]] = []
        self._evidence = evidence
        node = bed.node()
        for target in targets:
            for address in GATEWAYS:
                name = f"ping-{target.pod}-{'6' if ':' in address else '4'}"
                node.log(name).unlink(missing_ok=True)
                entered = ["nsenter", f"--net={target.netns}"]
                words = [*entered, "ping", "-n", "-i", str(EVERY), address]
                self._running.append((target, address, node.spawn(name, words)))

    def stop(self) -> list[Window]:
        """End the pings, and return a window for each. Keep what they printed as evidence."""
        self._evidence.mkdir(parents=True, exist_ok=True)
        windows = []
        for target, address, service in self._running:
            service.stop(signal.SIGINT)
            text = service.log.read_text()
            (self._evidence / f"{service.name}.txt").write_text(text)
            windows.append(_window(target.pod, address, text))
        return windows


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
