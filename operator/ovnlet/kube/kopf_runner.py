"""kopf as a guest: in a thread and a loop of its own, and started again whenever it ends.

There it finds no signals to take and no tasks of ours to cancel, and its import and its bursts do not
hold up the loop that serves the runtime. What it tells arrives as calls in our loop.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
STEADY = 60.0
FAREWELL = 5.0
LOOK = 2.0  # seconds between looks for a kind that came after kopf
log = structlog.get_logger("guest")


class KopfRunner:
    """Feeds the stores of ``listings`` from kopf's watches. ``identity`` is what kopf is to call itself.

    Whenever kopf had to list a kind anew, or ended, events may be lost, and our own LIST is asked for.
    """

    def __init__(self, access: Access, identity: str, listings: Sequence[Relist[Any]]) -> None:
        self._access, self._identity = access, identity
        self._listings = {listing.store.kind.path: listing for listing in listings}
        self._watched: set[str] = set()

    async def run(self) -> None:
        """Keep kopf running. Ends only when cancelled."""
        loop = asyncio.get_running_loop()
        row = 0
        while True:
            began = loop.time()
            ended, error = await self._life()
            if not ended:
                log.info("a kind came after kopf had begun: it begins anew")
                continue
            for listing in self._listings.values():
                listing.request()
            row = 0 if loop.time() - began > STEADY else row + 1
            if row % 20 <= 1:
                log.warning("kopf ended and is started again", error=repr(error), row=row)
            await asyncio.sleep(min(SHORTEST_PAUSE * 2 ** min(row, 10), LONGEST_PAUSE))

    async def _life(self) -> tuple[bool, BaseException | None]:
        """Run kopf until it ends by itself or misses a kind; end it when cancelled.

        Returns whether it ended by itself, and with what.
        """
        ours, theirs = asyncio.get_running_loop(), asyncio.new_event_loop()
        stop, ended = asyncio.Event(), ours.create_future()
        self._watched.clear()

        def live() -> None:
            error: BaseException | None = None
            try:
                with asyncio.Runner(loop_factory=lambda: theirs) as runner:
                    error = runner.run(_outcome(self._operate(ours, stop)))
            finally:
                with suppress(RuntimeError):  # our loop is closed
                    ours.call_soon_threadsafe(ended.set_result, error)

        threading.Thread(target=live, name="kopf", daemon=True).start()
        missing = asyncio.create_task(self._missed())
        try:
            await asyncio.wait({ended, missing}, return_when=asyncio.FIRST_COMPLETED)
            by_itself = ended.done()
        finally:
            missing.cancel()
            with suppress(RuntimeError):  # its loop is closed
                theirs.call_soon_threadsafe(stop.set)
            await asyncio.wait({ended}, timeout=FAREWELL)
        return by_itself, ended.result() if ended.done() else None

    async def _missed(self) -> None:
        """Return once the cluster has a kind that kopf does not watch: it looks for kinds only when it begins.

        Two looks in a row must find it missing: on a busy machine kopf lists one kind seconds after another.
        """
        missing: set[str] = set()
        while True:
            await asyncio.sleep(LOOK)
            before = missing
            missing = {
                path for path, listing in self._listings.items() if listing.there
            } - self._watched
            if self._watched and before & missing:
                return

    async def _operate(self, ours: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        """In the thread. kopf is imported here: it takes a quarter of a second."""
        import kopf  # noqa: PLC0415

        from ovnlet.kube import kopf_handlers  # noqa: PLC0415

        stores = [listing.store for listing in self._listings.values()]

        async def notice(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            listing = self._listings.get(request.url.path)
            if listing is None or "watch" in request.url.query:
                return await send(request)
            self._watched.add(request.url.path)
            answer = await send(request)
            ours.call_soon_threadsafe(listing.request)
            return answer

        def tell(store: Store[Any], seen: Any, deleted: bool) -> None:
            ours.call_soon_threadsafe(store.gone if deleted else store.seen, seen)

        hush()
        async with self._access.session(notice) as http:
            await kopf.operator(
                registry=kopf_handlers.registry(self._access.server, http, stores, tell),
                settings=kopf_handlers.settings(stores),
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


class KopfLogHandler(logging.Handler):
    """Passes kopf's errors on, each place in its code at most once a minute: it tells of every retry."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._told: dict[tuple[str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.pathname, record.lineno)
        if monotonic() - self._told.get(place, -STEADY) >= STEADY:
            self._told[place] = monotonic()
            log.warning(
                "kopf: " + record.getMessage(),
                error=repr(record.exc_info[1]) if record.exc_info else None,
            )


def hush() -> None:
    logger = logging.getLogger("kopf")
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(KopfLogHandler())
