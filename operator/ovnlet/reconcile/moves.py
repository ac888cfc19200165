"""Moves of uplinks: their records, first on the disk, and the timer that ends one in vain."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from ovnlet.core.errors import NodeFault
from ovnlet.core.underlay.record import Record

log = structlog.get_logger("underlay")


class Journal(Protocol):
    """The records on disk. ``drivers.store.journal`` implements it."""

    def read(self) -> Iterator[Record]:
        """Yield the records. Raise NodeFault for one that cannot be read."""
        ...

    def write(self, record: Record) -> None:
        """Replace a record; it is on the disk on return. Raise NodeFault."""
        ...

    def remove(self, network: str) -> None:
        """Remove the record of a network. Raise NodeFault."""
        ...


class Moves:
    """The record of each network. ``ask(network)`` asks for a pass that acts.

    A move that is begun is settled within ``timeout`` seconds, or goes back. The timer is of the
    event loop, not of a pass: a pass that fails or waits does not stop it.
    """

    def __init__(self, journal: Journal, ask: Callable[[str], None], timeout: float) -> None:
        self._journal, self._ask, self._timeout = journal, ask, timeout
        self._records: dict[str, Record] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def load(self) -> None:
        """Read the records. A move that was not settled goes back. Raise NodeFault.

        It needs no API server: what the agent did not prove before it ended is not trusted.
        """
        self._records = {record.intent.network: record for record in self._journal.read()}
        for record in self:
            if record.phase == "moving":
                why = "the agent ended before the move was proved"
                self.go_back(record.intent.network, why, again=True)
            elif record.phase == "returning":
                self._ask(record.intent.network)

    def __iter__(self) -> Iterator[Record]:
        """Iterate over a copy: records change meanwhile."""
        return iter(tuple(self._records.values()))

    def get(self, network: str) -> Record | None:
        """Return the record of a network; None if it has none."""
        return self._records.get(network)

    @property
    def held(self) -> Mapping[str, str]:
        """The networks that have a NIC, by the NIC."""
        return {each.intent.nic: each.intent.network for each in self if each.phase != "held"}

    @property
    def under_way(self) -> bool:
        """Whether a move, or a way back, is not over."""
        return any(each.phase in ("moving", "returning") for each in self)

    def write(self, record: Record) -> None:
        """Record it, first on the disk. Raise NodeFault; then nothing has changed."""
        if record != self._records.get(record.intent.network):
            self._journal.write(record)
            self._records[record.intent.network] = record

    def begin(self, record: Record) -> None:
        """Record a move, start its timer and ask for the first pass. Raise NodeFault."""
        network = record.intent.network
        self.write(record)
        later = asyncio.get_running_loop().call_later
        self._timers[network] = later(self._timeout, self._expired, network)
        self._ask(network)

    def settle(self, network: str) -> None:
        """Record that a move was proved. Raise NodeFault; its timer runs on then."""
        self.write(replace(self._records[network], phase="settled", why=""))
        self._stop_timer(network)

    def go_back(self, network: str, why: str, *, again: bool) -> None:
        """Desire everything on the NIC from now on, and ask for a pass.

        A disk that takes no record does not stop it: the record there is of a move that is not
        proved, or of one that a look at the object ends again.
        """
        self._stop_timer(network)
        record = replace(self._records[network], phase="returning", why=why, again=again)
        log.warning("an uplink goes back", nic=record.intent.nic, why=why)
        try:
            self.write(record)
        except NodeFault as error:
            log.warning("way back without a record", nic=record.intent.nic, error=str(error))
            self._records[network] = record
        self._ask(network)

    def forget(self, network: str) -> None:
        """Remove the record of a network. Raise NodeFault."""
        self._journal.remove(network)
        self._records.pop(network, None)

    def _expired(self, network: str) -> None:
        record = self._records.get(network)
        if record is not None and record.phase == "moving":
            why = record.why or "the bridge was not made"
            self.go_back(network, f"{why} within {self._timeout:g} s", again=False)

    def _stop_timer(self, network: str) -> None:
        if (timer := self._timers.pop(network, None)) is not None:
            timer.cancel()
