"""Turns of the event loop: in a burst, one piece of work that blocks it in each."""

import asyncio
from collections import deque
from collections.abc import Hashable

# Seconds that a key is put off at most while others go first.
_LONGEST = 0.03


class Turns:
    """Gives each turn of the event loop to one key, first come first served.

    Without that, a hundred passes at once would delay every other answer, such as that to STATUS,
    until all of them have worked. A key that nobody else waits with goes on in the turn that it
    has.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Hashable, asyncio.Future[None]]] = deque()
        self._put_off: deque[tuple[Hashable, asyncio.Future[None]]] = deque()
        self._until = 0.0  # when the first of those that are put off goes first
        self._has_it: Hashable | None = None

    async def take(self, key: Hashable, *, last: bool = False) -> None:
        """Return when this key may block the event loop until it waits for something again.

        With ``last``, keys without it go first, for 30 ms at most.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting and self._has_it in (None, key):
            if self._has_it is None:
                self._has_it = key
                loop.call_soon(self._pass_on)
            return
        turn: asyncio.Future[None] = loop.create_future()
        if last and not self._put_off:
            self._until = loop.time() + _LONGEST
        (self._put_off if last else self._waiting).append((key, turn))
        await turn

    def has(self, key: Hashable) -> bool:
        """Return whether this turn is the key's."""
        return self._has_it == key

    def _pass_on(self) -> None:
        """Give the next turn to who has waited longest."""
        loop = asyncio.get_running_loop()
        while self._waiting or self._put_off:
            late = self._put_off and loop.time() >= self._until
            turns = self._put_off if late or not self._waiting else self._waiting
            self._has_it, turn = turns.popleft()
            if not turn.done():  # its task was not cancelled
                turn.set_result(None)
                loop.call_soon(self._pass_on)
                return
        self._has_it = None
