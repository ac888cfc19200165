"""A ping that runs until it is stopped, and the count of what it lost."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import IO

from testbed.space import Inside


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping under way, and its output."""

    process: Inside
    output: IO[str]

    def stop(self) -> tuple[int, int]:
        """End it and return how many packets were sent and received."""
        sent, answered = self.end()
        if lost := sorted(set(range(1, sent + 1)) - answered):
            print(f"of {sent} packets these were lost: {lost}")
        return sent, len(answered)

    def end(self) -> tuple[int, set[int]]:
        """End it; return how many packets were sent, and the numbers, from 1, of those answered.

        The last packet is not counted: its answer may still be on the way.
        """
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=10)
        self.output.seek(0)
        text = self.output.read()
        self.output.close()
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)}
        found = re.search(r"(\d+) packets transmitted", text)
        assert found, text
        return max(int(found[1]) - 1, *answered, 0), answered
