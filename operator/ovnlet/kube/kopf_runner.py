"""kopf in a thread and an event loop of its own, restarted whenever it ends.

There kopf finds no signals to handle and no tasks of ours to cancel. Its import and its bursts of
work do not delay the loop that serves the container runtime. Events arrive as calls in our loop.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from ovnlet.kube.object_store import Store
from ovnlet.kube.relist import Relist
from ovnlet.kube.session import Access
from ovnlet.optional import left_out

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 4.0  # seconds before a restart
STABLE_AFTER = 60.0  # seconds after which a failure no longer counts as one in a row
STOP_TIMEOUT = 5.0
KIND_CHECK_INTERVAL = 2.0  # seconds between checks for a kind that was added after kopf started
NO_OBJECT = "metadata.name=-"  # a field selector: no object can have that name
LOG_INTERVAL = 60.0  # seconds until an error of the same line of kopf's code is logged again
# kopf imports them for their classes of objects, where somebody has installed them: 20 MB.
CLIENTS = ("kubernetes", "kubernetes_asyncio", "pykube")
log = structlog.get_logger("kopf_runner")


class KopfRunner:
    """Feeds the stores of ``listings`` from kopf's watches.

    Events may be lost whenever kopf lists a kind again or ends; a list of our own is then
    requested. ``identity`` is the name that kopf gives itself.
    """

    def __init__(self, access: Access, identity: str, listings: Sequence[Relist[Any]]) -> None:
        self._access, self._identity = access, identity
        self._listings = {listing.store.kind.path: listing for listing in listings}
        self._watched: set[str] = set()

    async def run(self) -> None:
        """Keep kopf running, with a back-off between restarts. Returns only when cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            ended, error = await self._run_once()
            if not ended:
                log.info("a kind was added after kopf started; kopf restarts")
                continue
            for listing in self._listings.values():
                listing.request()
            failures = 0 if loop.time() - began > STABLE_AFTER else failures + 1
            if failures % 20 <= 1:
                log.warning("kopf ended and is restarted", error=repr(error), failures=failures)
            await asyncio.sleep(min(SHORTEST_PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE))

    async def _run_once(self) -> tuple[bool, BaseException | None]:
        """Run kopf until it ends by itself or misses a kind; stop it when cancelled.

        Return whether it ended by itself, and the error it ended with. Stopping waits up to
        STOP_TIMEOUT for the thread.
        """
        ours, theirs = asyncio.get_running_loop(), asyncio.new_event_loop()
        stop, ended = asyncio.Event(), ours.create_future()
        self._watched.clear()

        def run_thread() -> None:
            error: BaseException | None = None
            try:
                with asyncio.Runner(loop_factory=lambda: theirs) as runner:
                    error = runner.run(_outcome(self._operate(ours, stop)))
            finally:
                with suppress(RuntimeError):  # our loop is closed
                    ours.call_soon_threadsafe(ended.set_result, error)

        try:
            threading.Thread(target=run_thread, name="kopf", daemon=True).start()
        except RuntimeError:  # the kernel refuses another thread
            theirs.close()
            raise
        missing = asyncio.create_task(self._missed_kind())
        try:
            await asyncio.wait({ended, missing}, return_when=asyncio.FIRST_COMPLETED)
            by_itself = ended.done()
        finally:
            missing.cancel()
            with suppress(RuntimeError):  # kopf's loop is closed
                theirs.call_soon_threadsafe(stop.set)
            await asyncio.wait({ended}, timeout=STOP_TIMEOUT)
        return by_itself, ended.result() if ended.done() else None

    async def _missed_kind(self) -> None:
        """Return once the cluster has a kind that kopf does not watch.

        kopf looks for kinds only when it starts. Two checks in a row must find the kind missing: on
        a busy machine kopf lists one kind seconds after another.
        """
        missing: set[str] = set()
        while True:
            await asyncio.sleep(KIND_CHECK_INTERVAL)
            before = missing
            missing = {
                path for path, listing in self._listings.items() if listing.there
            } - self._watched
            if self._watched and before & missing:
                return

    async def _operate(self, ours: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        """Run kopf in its thread until ``stop`` is set or kopf fails.

        kopf is imported here because the import takes a quarter of a second.
        """
        with left_out(*CLIENTS):
            import kopf  # noqa: PLC0415

            from ovnlet.kube import kopf_handlers  # noqa: PLC0415

        stores = [listing.store for listing in self._listings.values()]

        async def notice_list(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            """Request our own list after each of kopf's, and note which kinds kopf watches.

            kopf itself gets an empty list, and its watch begins there. For each object of a list it
            starts a task with a queue: some milliseconds and 17 KiB, which the process keeps.
            """
            listing = self._listings.get(request.url.path)
            if listing is None or "watch" in request.url.query:
                return await send(request)
            self._watched.add(request.url.path)
            request.url = request.url.update_query(fieldSelector=NO_OBJECT)
            answer = await send(request)
            ours.call_soon_threadsafe(listing.request)
            return answer

        handover = Handover(ours)

        def deliver(store: Store[Any], seen: Any, deleted: bool) -> None:
            handover.call(store.delete if deleted else store.update, seen)

        redirect_kopf_logs()
        async with self._access.session(notice_list) as http:
            await kopf.operator(
                registry=kopf_handlers.registry(self._access.server, http, stores, deliver),
                settings=kopf_handlers.settings(stores),
                # By default kopf asks DNS for the full host name: 5 s where no server answers.
                identity=self._identity,  # type: ignore[arg-type]
                standalone=True,
                clusterwide=True,
                stop_flag=stop,
            )


class Handover:
    """Calls from one other thread, which an event loop makes in their order.

    A burst wakes the loop once. To wake it is a system call, after which the other thread waits for
    the interpreter, up to 5 ms where the loop is busy.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()

    def call(self, function: Callable[[Any], None], value: Any) -> None:
        """Let the loop call ``function(value)``. Raise RuntimeError if the loop is closed."""
        self._waiting.append((function, value))
        if len(self._waiting) == 1:  # with more, the loop is still busy with those before
            self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        """Make all calls. One that raises is logged by the loop, and the others follow."""
        try:
            while self._waiting:
                function, value = self._waiting.popleft()
                function(value)
        finally:
            if self._waiting:
                self._loop.call_soon(self._run)


async def _outcome(operator: Coroutine[None, None, None]) -> BaseException | None:
    """Return the error that kopf ended with, of any class: it is logged, not handled."""
    (error,) = await asyncio.gather(operator, return_exceptions=True)
    return error


class KopfLogHandler(logging.Handler):
    """Passes kopf's errors on to our log as warnings.

    Each line of kopf's code is logged once a minute at most: kopf logs every retry.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._logged: dict[tuple[str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record unless its line was logged within the last minute."""
        place = (record.pathname, record.lineno)
        if monotonic() - self._logged.get(place, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._logged[place] = monotonic()
            log.warning(
                "kopf: " + record.getMessage(),
                error=repr(record.exc_info[1]) if record.exc_info else None,
            )


def redirect_kopf_logs() -> None:
    """Route kopf's errors through KopfLogHandler and drop its other records. Safe to repeat."""
    logger = logging.getLogger("kopf")
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(KopfLogHandler())
