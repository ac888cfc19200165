"""What `ip monitor` prints while something is done in a namespace."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from integration.node.spaces import Space
from testbed.service import wait_for


@dataclass
class Seen:
    """The lines, in the kernel's order; complete after the block."""

    lines: list[str] = field(default_factory=list)

    def came(self, word: str) -> int:
        """Return the place of the first line with this word that reports something new."""
        return next(n for n, line in enumerate(self.lines) if word in line and not _gone(line))

    def went(self, word: str) -> int:
        """Return the place of the first line with this word that reports a removal."""
        return next(n for n, line in enumerate(self.lines) if word in line and _gone(line))


def _gone(line: str) -> bool:
    return line.startswith("Deleted")


@contextmanager
def monitored(space: Space) -> Iterator[Seen]:
    """Record the changes of addresses, routes and rules of both families during the block."""
    seen, mark = Seen(), "203.0.113.254"
    with tempfile.TemporaryFile("w+") as output:
        words = ["ip", "-n", space.name, "-o", "monitor", "address", "route", "rule"]
        process = subprocess.Popen(words, stdout=output)

        def reports(after: int) -> bool:
            space.ip("address", "add", f"{mark}/32", "dev", "lo")
            space.ip("address", "del", f"{mark}/32", "dev", "lo")
            output.seek(0)
            return output.read().count(mark) > after

        try:
            wait_for(lambda: reports(0), "ip monitor")
            yield seen
            output.seek(0)
            before = output.read().count(mark)
            wait_for(lambda: reports(before + 1), "the last change")
        finally:
            process.terminate()
            process.wait(10)
        output.seek(0)
        seen.lines += [line for line in output.read().splitlines() if mark not in line]
