"""kopf as a guest: in a thread and a loop of its own, and started again whenever it ends.

There it finds no signals to take and no tasks of ours to cancel, and its import and its bursts do not
hold up the loop that serves the runtime. What it tells arrives as calls in our loop.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from ovnlet.cluster.feeds import Feed
from ovnlet.cluster.session import Access

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
STEADY = 60.0
FAREWELL = 5.0
log = structlog.get_logger("guest")


class Guest:
    """Feeds the ``feeds`` from kopf's watches. ``identity`` is what kopf is to call itself.

    ``relisted`` is called when kopf had to list anew or ended: events may be lost.
    """

    def __init__(self, access: Access, identity: str, feeds: Sequence[Feed[Any]], relisted: Callable[[], None]) -> None:
        self._access, self._identity, self._feeds, self._relisted = access, identity, feeds, relisted

    async def run(self) -> None:
        """Keep kopf running. Ends only when cancelled."""
        loop = asyncio.get_running_loop()
        row = 0
        while True:
            began = loop.time()
            error = await self._life()
            self._relisted()
            row = 0 if loop.time() - began > STEADY else row + 1
            if row % 20 <= 1:
                log.warning("kopf ended and is started again", error=repr(error), row=row)
            await asyncio.sleep(min(SHORTEST_PAUSE * 2 ** min(row, 10), LONGEST_PAUSE))

    async def _life(self) -> BaseException | None:
        """Run kopf until it ends by itself; end it when cancelled. Returns what it ended with."""
        ours, theirs = asyncio.get_running_loop(), asyncio.new_event_loop()
        stop, ended = asyncio.Event(), ours.create_future()

        def live() -> None:
            error: BaseException | None = None
            try:
                with asyncio.Runner(loop_factory=lambda: theirs) as runner:
                    error = runner.run(_outcome(self._operate(ours, stop)))
            finally:
                with suppress(RuntimeError):  # our loop is closed
                    ours.call_soon_threadsafe(ended.set_result, error)

        threading.Thread(target=live, name="kopf", daemon=True).start()
        try:
            await asyncio.wait({ended})
        finally:
            with suppress(RuntimeError):  # its loop is closed
                theirs.call_soon_threadsafe(stop.set)
            await asyncio.wait({ended}, timeout=FAREWELL)
        result: BaseException | None = ended.result()
        return result

    async def _operate(self, ours: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        """In the thread. kopf is imported here: it takes a quarter of a second."""
        import kopf  # noqa: PLC0415

        from ovnlet.cluster import handlers  # noqa: PLC0415

        paths = {feed.kind.path for feed in self._feeds}

        async def notice(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            answer = await send(request)
            if request.url.path in paths and "watch" not in request.url.query:
                ours.call_soon_threadsafe(self._relisted)
            return answer

        def tell(feed: Feed[Any], seen: Any, deleted: bool) -> None:
            ours.call_soon_threadsafe(feed.gone if deleted else feed.seen, seen)

        hush()
        async with self._access.session(notice) as http:
            await kopf.operator(
                registry=handlers.registry(self._access.server, http, self._feeds, tell),
                settings=handlers.settings(self._feeds),
                # By itself it asks DNS for the node's full name, and where none answers that takes 5 s.
                identity=self._identity,  # type: ignore[arg-type]
                standalone=True,
                clusterwide=True,
                stop_flag=stop,
            )


async def _outcome(life: Coroutine[None, None, None]) -> BaseException | None:
    """Whatever it is: an error of kopf's is nothing to handle here, only to tell."""
    (error,) = await asyncio.gather(life, return_exceptions=True)
    return error


class Chatter(logging.Handler):
    """Passes kopf's errors on, each place in its code at most once a minute: it tells of every retry."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._told: dict[tuple[str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.pathname, record.lineno)
        if monotonic() - self._told.get(place, -STEADY) >= STEADY:
            self._told[place] = monotonic()
            log.warning("kopf: " + record.getMessage(), error=repr(record.exc_info[1]) if record.exc_info else None)


def hush() -> None:
    logger = logging.getLogger("kopf")
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(Chatter())
