"""The turn of a pass: the waits that a DEL of the same key ends early, and what it keeps open.

A pass has its key's turn until it ends. A DEL needs the turn at once, but a transaction or a change
of the kernel that is under way cannot be taken back. So only waits that change nothing end early,
those in ``interruptible``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar

from ovnlet.core.errors import NotReady


class Turn:
    """The turn of one pass. It may be cut short once, from then on no wait of it lasts."""

    def __init__(self) -> None:
        self._waits: set[asyncio.Timeout] = set()
        self._is_cut = False
        self._closing: ExitStack | None = ExitStack()

    def begin(self) -> None:
        """Make this the turn of the current task, and of the tasks that it starts from now on."""
        _TURN.set(self)

    def end(self) -> None:
        """Close what the pass has kept open."""
        if self._closing is not None:
            self._closing.close()
            self._closing = None

    @property
    def closing(self) -> ExitStack | None:
        """What is closed at the end of the pass; None after it."""
        return self._closing

    def cut_short(self) -> None:
        """End the waits of this pass, those to come too."""
        self._is_cut = True
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Run the body until the turn is cut short. Raise NotReady then."""
        limit = asyncio.timeout(0 if self._is_cut else None)
        try:
            async with limit:
                self._waits.add(limit)
                try:
                    yield
                finally:
                    self._waits.discard(limit)
        except TimeoutError:
            if limit.expired():
                raise NotReady("a DEL of the same attachment came meanwhile") from None
            raise


_TURN: ContextVar[Turn | None] = ContextVar("turn", default=None)


@asynccontextmanager
async def interruptible() -> AsyncIterator[None]:
    """Run the body, a wait that changes nothing, until a DEL of the key of this pass comes.

    Raise NotReady then. Outside of a pass, just run the body.
    """
    turn = _TURN.get()
    if turn is None:
        yield
        return
    async with turn.wait():
        yield


def closed_with_pass() -> ExitStack | None:
    """Return what is closed at the end of the current pass; None outside of a pass."""
    turn = _TURN.get()
    return turn.closing if turn is not None else None
