"""Passes that are requested some time later."""

import asyncio
from collections.abc import Callable

from ovnlet.controller.context import Key


class Timers:
    """One timer for each key at most. ``add`` requests a pass now."""

    def __init__(self, add: Callable[[Key], None]) -> None:
        self._add = add
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def later(self, seconds: float, key: Key) -> None:
        """Request a pass in some seconds, unless one is due already."""
        if key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def stop(self) -> None:
        """Request none of those that are due."""
        for timer in self._timers.values():
            timer.cancel()

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self._add(key)
