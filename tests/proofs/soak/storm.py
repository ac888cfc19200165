"""`python -m proofs.soak.storm KIND RATE [NETNS]`: change the kernel's network until SIGTERM.

It writes batches to one `ip`, RATE a second, or without a pause if RATE is 0. At its end it prints
how many there were.

namespaces  make a network namespace and delete it
addresses   give eth0 in NETNS a foreign address and take it away
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import FrameType

FOREIGN = "198.18.0.1/32"
KINDS = {
    "namespaces": "netns add storm{n}\nnetns del storm{n}\n",
    "addresses": f"addr add {FOREIGN} dev eth0\naddr del {FOREIGN} dev eth0\n",
}


class Storm:
    """Batches for `ip`, until it is stopped."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Write no further batch. A handler of a signal."""
        self.stopped = True

    def run(self, kind: str, rate: float, netns: str = "") -> int:
        """Write batches until it is stopped; return how many."""
        where = ["-n", netns] * bool(netns)
        words = ["ip", *where, "-force", "-batch", "-"]
        count, began = 0, time.monotonic()
        with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdin
            while not self.stopped:
                process.stdin.write(KINDS[kind].format(n=count).encode())
                count += 1
                if rate:
                    process.stdin.flush()
                    time.sleep(max(0.0, began + count / rate - time.monotonic()))
        return count


if __name__ == "__main__":
    storm = Storm()
    signal.signal(signal.SIGTERM, storm.stop)
    print(storm.run(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]), flush=True)
