"""Turns of the event loop: in a burst, one piece of work that blocks it in each."""

import asyncio
from collections import deque
from collections.abc import Hashable


class Turns:
    """Gives each turn of the event loop to one key, first come first served.

    Without that, a hundred passes at once would delay every other answer, such as that to STATUS,
    until all of them have worked. A key that nobody else waits with goes on in the turn that it
    has.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Hashable, asyncio.Future[None]]] = deque()
        self._has_it: Hashable | None = None

    async def take(self, key: Hashable) -> None:
        """Return when this key may block the event loop until it waits for something again."""
        loop = asyncio.get_running_loop()
        if not self._waiting and self._has_it in (None, key):
            if self._has_it is None:
                self._has_it = key
                loop.call_soon(self._pass_on)
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((key, turn))
        await turn

    def has(self, key: Hashable) -> bool:
        """Return whether this turn is the key's."""
        return self._has_it == key

    def _pass_on(self) -> None:
        """Give the next turn to who has waited longest."""
        while self._waiting:
            self._has_it, turn = self._waiting.popleft()
            if not turn.done():  # its task was not cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._pass_on)
                return
        self._has_it = None
