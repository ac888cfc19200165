"""`python -m proofs.bench.storm NETNS RATE`: change a namespace's own network all the time.

An address of `eth0` is added and deleted in turn by one `ip -batch`, RATE changes a second, or with
0 as fast as it can. At SIGTERM it prints how many lines `ip` has read, and in how many seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

ADDRESS = "192.0.2.77/32"
CHANGES = f"address add {ADDRESS} dev eth0\naddress del {ADDRESS} dev eth0\n".encode()
# Changes of one write, and seconds between two looks at the clock.
CHUNK, TICK = 50, 0.005


class Ended(Exception):
    """SIGTERM came."""


def main() -> None:
    """Feed `ip -batch` until SIGTERM."""
    name, rate = sys.argv[1], float(sys.argv[2])
    words = ["ip", "-n", name, "-force", "-batch", "-"]
    signal.signal(signal.SIGTERM, _end)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as tool:
        assert tool.stdin is not None
        pipe, began, written = tool.stdin.fileno(), time.monotonic(), 0
        chunk = CHANGES * (CHUNK // 2)
        try:
            while True:
                while rate and written > rate * (time.monotonic() - began):
                    time.sleep(TICK)
                os.write(pipe, chunk)
                written += CHUNK
        except (Ended, BrokenPipeError):
            print(written, time.monotonic() - began, flush=True)
            tool.kill()


def _end(_: int, __: FrameType | None) -> None:
    raise Ended


if __name__ == "__main__":
    main()
