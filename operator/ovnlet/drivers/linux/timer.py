"""A periodic timer with a descriptor. The timers of asyncio are not finer than a millisecond."""

import ctypes
import os
import time
from contextlib import suppress

_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """Becomes readable at each interval after ``start``, until ``stop``."""

    def __init__(self) -> None:
        """Make a timer that is stopped. Raise OSError without a descriptor."""
        self._descriptor = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(self._descriptor)

    def start(self, seconds: float) -> None:
        """Begin with intervals of this length, below a second."""
        self._set(int(seconds * 1e9))

    def stop(self) -> None:
        """End the intervals; an interval that is over already is forgotten."""
        self._set(0)

    def acknowledge(self) -> None:
        """Be readable only when the next interval is over."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _set(self, nanoseconds: int) -> None:
        # struct itimerspec: the interval and the first one, each seconds and nanoseconds.
        times = (ctypes.c_long * 4)(0, nanoseconds, 0, nanoseconds)
        if _libc.timerfd_settime(self._descriptor, 0, times, None) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
