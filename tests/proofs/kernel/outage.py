"""One restart of Open vSwitch under traffic, carried out and measured inside the node.

`measure` runs in the exec agent: a program outside would need longer to look than an outage lasts.
"""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, Any

from proofs.kernel import sandboxes
from testbed.cni_runtime import PluginFailed, Refused

EVERY = 0.02  # seconds between two packets
BEFORE, AFTER, LONGEST = 1.5, 1.0, 90.0  # seconds of traffic before, after, and at most
_REPLY = re.compile(r"\[(\d+\.\d+)\] .*icmp_seq=(\d+) ttl")
_SENT = re.compile(r"(\d+) packets transmitted")
Window = tuple[float, float]
FAILURES = (PluginFailed, Refused, OSError, subprocess.SubprocessError, ValueError)


@dataclass
class Flow:
    """A ping from a namespace to an address, with the time of each reply."""

    process: subprocess.Popen[bytes]
    output: IO[str]

    @classmethod
    def start(cls, netns: str, address: str) -> Flow:
        """Start it."""
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        words = ["nsenter", f"--net={netns}", "ping", "-n", "-D", "-i", str(EVERY), address]
        return cls(subprocess.Popen(words, stdout=output, stderr=output), output)

    def text(self) -> str:
        """Return what it has printed."""
        self.output.seek(0)
        return self.output.read()

    def last_reply(self) -> float:
        """Return the time of the last reply, or 0."""
        found = _REPLY.findall(self.text()[-4000:])
        return float(found[-1][0]) if found else 0.0

    def end(self, away: Window | None) -> dict[str, Any]:
        """End it and return what was sent and lost."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        try:
            return losses(self.text(), away)
        finally:
            self.output.close()


def losses(text: str, away: Window | None) -> dict[str, Any]:
    """Return packets sent and lost, those lost while the daemon was away, and the longest outage.

    The outage, `gap_ms`, is the longest run of lost packets times the interval between two. The
    time between two replies, `pause_ms`, is longer where the machine has no processor time for the
    sender either. A last packet that may still be under way is not counted. A lost packet's time is
    interpolated between the replies around it.
    """
    replies = [(int(number), float(at)) for at, number in _REPLY.findall(text)]
    summary = _SENT.search(text)
    sent, never = int(summary[1]) if summary else 0, LONGEST * 1000
    if len(replies) < 2:
        found = {"sent": sent, "lost": sent, "lost_away": sent}
        return found | {"gap_ms": never, "pause_ms": never}
    lost = [
        begun + (number - first) * (ended - begun) / (last - first)
        for (first, begun), (last, ended) in pairwise(replies)
        for number in range(first + 1, last)
    ]
    gap = max(last - first - 1 for (first, _), (last, _) in pairwise(replies)) * EVERY
    pause = max(later - earlier for (_, earlier), (_, later) in pairwise(replies))
    in_window = [at for at in lost if away and away[0] <= at <= away[1]]
    return {
        "sent": sent,
        "lost": len(lost),
        "lost_away": len(in_window),
        "gap_ms": round(gap * 1000, 1),
        "pause_ms": round(pause * 1000, 1),
    }


@dataclass
class Adds:
    """ADDs of new pods, one after the other, in a thread of their own.

    One that is answered "try again" is called again at once, as kubelet does later.
    """

    pods: Sequence[dict[str, Any]]
    targets: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Start them."""
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for pod in self.pods:
            try:
                self.targets.append(sandboxes.attach(pod, self.again.append))
            except FAILURES as error:
                self.errors.append(str(error)[:300])

    def end(self) -> dict[str, Any]:
        """Wait for their end; detach the pods again."""
        assert self.thread is not None
        self.thread.join()
        for target in self.targets:
            sandboxes.detach(target)
        found = {"tried": len(self.pods), "succeeded": len(self.targets)}
        return found | {"asked_again": len(self.again), "errors": self.errors + self.again}


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Run the steps of a restart under the flows, and return what each flow lost.

    With two steps, the daemon is away for ``pause`` seconds between them. The ADDs of ``pods``
    start with the first step.
    """
    flows = [Flow.start(netns, address) for netns, address in request["flows"]]
    time.sleep(BEFORE)
    adds = Adds(request["pods"])
    adds.start()
    began = time.time()
    outputs = [_step(request["steps"][0])]
    away = None
    if len(request["steps"]) > 1:
        stopped = time.time()
        time.sleep(request["pause"])
        away = (stopped, time.time())
        outputs += [_step(step) for step in request["steps"][1:]]
    took = time.time() - began
    _wait_for_replies(flows)
    made = adds.end()
    return {
        "flows": [flow.end(away) for flow in flows],
        "adds": made,
        "seconds": round(took, 2),
        "failed": [output for output in outputs if output],
    }


def _step(argv: list[str]) -> str:
    """Run a command, and return its output if it failed."""
    # A file, because a pipe is open as long as a daemon that the command starts keeps it.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(argv, stdout=output, stderr=output, timeout=120, check=False)
        output.seek(0)
        return output.read()[-500:] if done.returncode else ""


def _wait_for_replies(flows: Sequence[Flow]) -> None:
    """Wait until every flow has had replies for the time of AFTER, at most LONGEST."""
    end, since = time.time() + LONGEST, 0.0
    while time.time() < end:
        now = time.time()
        if any(now - flow.last_reply() > AFTER / 2 for flow in flows):
            since = 0.0
        elif not since:
            since = now
        elif now - since > AFTER:
            return
        time.sleep(0.2)
