"""Leases of DHCP that moved to a bridge, while their client stays on the interface."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from ovnlet.core.resources import LinkEntry
from ovnlet.core.underlay.record import Record

# A client that sets its address again this often in so many seconds does not let it move.
_OFTEN, _SECONDS = 5, 60.0
# Seconds that a client has for its script, which sets an address first and then its routes.
SCRIPT = 0.2


class Leases:
    """Ends a move whose lease is not renewed in time, or whose client fights for its address.

    ``end(network, why)`` gives everything back, ``ask(network)`` asks for a pass. ``now()`` is in
    seconds since 1970. A client's script has ``script`` seconds.
    """

    def __init__(
        self,
        end: Callable[[str, str], None],
        ask: Callable[[str], None],
        now: Callable[[], float],
        script: float = SCRIPT,
    ) -> None:
        self._end, self._ask, self._now, self._script = end, ask, now, script
        self._scripts: dict[str, asyncio.TimerHandle] = {}
        self._written: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._returns: dict[str, deque[float]] = {}
        self._moved: set[str] = set()

    def moved(self, network: str) -> None:
        """Take that a pass has left no address of the network on its NIC."""
        self._moved.add(network)
        self._end_script(network)

    def is_amid_script(self, network: str, on_nic: Iterable[LinkEntry]) -> bool:
        """Return whether a client may still be setting its routes; a pass is asked for after that.

        A pass in between would take a route that the client is about to replace for a lost one.
        """
        if not any(each.is_leased for each in on_nic):
            self._end_script(network)
            return False
        if network in self._written or not self._script:
            return False
        if network not in self._scripts:
            later = asyncio.get_running_loop().call_later
            self._scripts[network] = later(self._script, self._is_written, network)
        return True

    def _is_written(self, network: str) -> None:
        self._written.add(network)
        self._ask(network)

    def _end_script(self, network: str) -> None:
        """Wait for the next script from its beginning."""
        self._written.discard(network)
        if (timer := self._scripts.pop(network, None)) is not None:
            timer.cancel()

    def look(self, record: Record, on_nic: Iterable[LinkEntry]) -> None:
        """Take a settled record, and what its NIC has now, which is to be moved again."""
        network, loop = record.intent.network, asyncio.get_running_loop()
        self._stop(network)
        leases = [
            (lease.renewed_by, each.text)
            for each in record.found.entries
            if (lease := each.lease) is not None
        ]
        if leases:
            end, text = min(leases)
            why = (
                f"the lease of {text} was not renewed: its DHCP client receives nothing on "
                f"{record.intent.nic} in a bridge, or its server is away"
            )
            wait = max(0.0, end - self._now())
            self._timers[network] = loop.call_later(wait, self._end, network, why)
        again = [each.text for each in on_nic if each.is_leased]
        if again and network in self._moved:  # else passes fail, and nobody has set it again
            self._moved.discard(network)
            times = self._returns.setdefault(network, deque(maxlen=_OFTEN))
            times.append(loop.time())
            if len(times) == _OFTEN and times[-1] - times[0] < _SECONDS:
                why = f"a DHCP client sets {again[0]} on {record.intent.nic} again each time"
                self._stop(network)
                loop.call_soon(self._end, network, why)

    def forget(self, network: str) -> None:
        """Forget a network that is not settled, or not any more."""
        self._stop(network)
        self._end_script(network)
        self._returns.pop(network, None)
        self._moved.discard(network)

    def _stop(self, network: str) -> None:
        if (timer := self._timers.pop(network, None)) is not None:
            timer.cancel()
