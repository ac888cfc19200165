"""Repairs that are undone at once: somebody changes the same thing again and again, and the loop must not spin.

A thing's first repairs are immediate. Those that follow hard on each other have its pod rest, 1 s and doubling up to a
minute. Many things that are each broken once, as by a clumsy hand, have nothing wait.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ovnlet.core.identity import AttachmentKey
from ovnlet.core.plan import Step
from ovnlet.core.resources import Key

# `ip address flush` alone goes ten rounds against a repair before it gives up, and may meet what was broken just now.
FREE = 15
# What is undone later than that was not undone at once, and a repair each two seconds costs nothing.
WINDOW = 2.0
LONGEST = 60.0
# No number in it: the same words each time make one Event with a count.
UNDONE = "undone at once again and again, so each repair waits longer, for a minute at most"


@dataclass(slots=True)
class _Row:
    """Of each thing how many repairs in a row, and when the last was; the end of the rest with its timer."""

    things: dict[Key, tuple[int, float]] = field(default_factory=dict)
    until: float = float("-inf")
    timer: asyncio.TimerHandle | None = None


class RepairBackoff:
    """``again(key)`` is called when a rest that held something up is over."""

    def __init__(self, again: Callable[[AttachmentKey], None]) -> None:
        self._again = again
        self._rows: dict[AttachmentKey, _Row] = {}

    def took(self, key: AttachmentKey, steps: Iterable[Step]) -> None:
        """A repair was made. Of a thing's within two seconds of the one before, or of the rest, fifteen are free."""
        now = asyncio.get_running_loop().time()
        row = self._rows.setdefault(key, _Row())
        row.things = {
            thing: seen
            for thing, seen in row.things.items()
            if now - max(seen[1], row.until) < WINDOW
        }
        mended = {
            _thing(step): (row.things.get(_thing(step), (0, now))[0] + 1, now) for step in steps
        }
        row.things |= mended
        most = max((count for count, _ in mended.values()), default=0)
        if most > FREE:
            row.until = now + min(2.0 ** (most - FREE - 1), LONGEST)

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


def _thing(step: Step) -> Key:
    """Its kind, place and name: what else a key has may be another each time in a fight over one thing."""
    return step.resource.key[:3]
