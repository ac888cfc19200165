"""Reading a socket at once while little comes, and at fixed intervals in a storm."""

import asyncio
import socket
from collections.abc import Callable

from ovnlet.drivers.linux.timer import Timer
from ovnlet.reconcile.budget import Bucket

# Reads at once, at the beginning and a second: each costs some 40 us. Beyond that there is one read
# in so many seconds, until so many in a row have found nothing. A third pod's notification is late
# by half of an interval.
_BURST, _READS = 200, 400
_INTERVAL, _EMPTY = 0.0012, 50


class PacedReader:
    """Calls ``read``, which returns whether it found anything.

    ``add_reader`` is that of the event loop, or one that handles what a callback raises.
    """

    def __init__(
        self,
        listener: socket.socket,
        read: Callable[[], bool],
        add_reader: Callable[[int, Callable[[], None]], None],
    ) -> None:
        """Begin to read. Raise OSError without a descriptor."""
        self._listener, self._read, self._add_reader = listener, read, add_reader
        self._reads = Bucket(_BURST, 1 / _READS)
        self._empty = 0
        self._timer = Timer()
        add_reader(self._timer.fileno(), self._interval_over)
        add_reader(listener.fileno(), self._readable)

    def close(self) -> None:
        """Stop reading. The socket stays open."""
        loop = asyncio.get_running_loop()
        for descriptor in (self._listener.fileno(), self._timer.fileno()):
            loop.remove_reader(descriptor)
        self._timer.close()

    def _readable(self) -> None:
        self._read()
        loop = asyncio.get_running_loop()
        if self._reads.wait(loop.time()):
            loop.remove_reader(self._listener.fileno())
            self._empty = 0
            self._timer.start(_INTERVAL)
        else:
            self._reads.spend(loop.time())

    def _interval_over(self) -> None:
        self._timer.acknowledge()
        if self._read():
            self._empty = 0
            return
        self._empty += 1
        if self._empty > _EMPTY:
            self._timer.stop()
            self._add_reader(self._listener.fileno(), self._readable)
