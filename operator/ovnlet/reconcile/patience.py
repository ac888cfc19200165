"""Repairs that are undone at once: somebody changes the same thing again and again, and the loop must not spin.

A pod's first repairs are immediate. Those that follow hard on each other rest, 1 s and doubling up to a minute.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ovnlet.core.attachment import AttachmentKey

FREE = 10
WINDOW = 10.0
LONGEST = 60.0


@dataclass(slots=True)
class _Row:
    """Repairs in a row: how many, when the last was, and the end of the rest with its timer."""

    count: int = 0
    last: float = float("-inf")
    until: float = float("-inf")
    timer: asyncio.TimerHandle | None = None


class Patience:
    """``again(key)`` is called when a rest that held something up is over."""

    def __init__(self, again: Callable[[AttachmentKey], None]) -> None:
        self._again = again
        self._rows: dict[AttachmentKey, _Row] = {}

    def took(self, key: AttachmentKey) -> None:
        """A repair was made. Of those within ten seconds of the one before, or of its rest, ten are free."""
        now = asyncio.get_running_loop().time()
        row = self._rows.setdefault(key, _Row())
        row.count = row.count + 1 if now - max(row.last, row.until) < WINDOW else 1
        row.last = now
        if row.count > FREE:
            row.until = now + min(2.0 ** (row.count - FREE - 1), LONGEST)

    def rest(self, key: AttachmentKey) -> float:
        """Seconds until this key may be repaired again; if there are any, ``again`` is called after them."""
        row = self._rows.get(key)
        now = asyncio.get_running_loop().time()
        if row is None or row.until <= now:
            return 0.0
        if row.timer is None:
            row.timer = asyncio.get_running_loop().call_at(row.until, self._over, key, row)
        return row.until - now

    def forget(self, key: AttachmentKey) -> None:
        row = self._rows.pop(key, None)
        if row is not None and row.timer is not None:
            row.timer.cancel()

    def _over(self, key: AttachmentKey, row: _Row) -> None:
        row.timer = None
        self._again(key)
