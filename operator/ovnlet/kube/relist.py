"""Our own LIST of a kind, such as this node's pods.

Only a complete list shows for sure that an object is gone: kopf does not report what was deleted
while it did not watch.
"""

import asyncio
import random
from contextlib import suppress
from typing import Any, Generic, TypeVar

import aiohttp
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from ovnlet.core.errors import NotReady
from ovnlet.kube.object_store import Store, StoredObject, Version
from ovnlet.kube.session import Access, ApiFault, call

# Objects in one answer: a pod may have 256 KiB of annotations, and a node has hundreds of pods.
CHUNK = 20
# Seconds: the longest back-off; until a kind is listed that nobody asked for, give or take a tenth;
# and the first and the longest wait until a kind that the cluster lacks is listed again. Four kinds
# and one that is absent are ten LISTs an hour then.
MAX_BACKOFF, EVERY, ABSENT_FIRST, ABSENT_LAST = 4.0, 3600.0, 5.0, 600.0
log = structlog.get_logger("relist")
T = TypeVar("T", bound=StoredObject)
_backoff = wait_random_exponential(multiplier=0.25, max=MAX_BACKOFF, min=0.1)


class Relist(Generic[T]):
    """Lists a kind into its store on request and every hour; retries until it succeeds.

    One list runs at a time, so that none overtakes another. ``there`` is whether the last attempt
    succeeded. The CRD of a kind may be installed long after the agent. A kind that the cluster does
    not have (404) changes nothing in the store, because the API server answers 404 while it starts
    as well. ``asked`` is set once the kind was listed, or known to be absent. ``chunk`` is the
    number of objects in one answer.
    """

    def __init__(self, access: Access, store: Store[T], chunk: int = CHUNK) -> None:
        self._access, self.store = access, store
        selector = store.kind.selector
        self._query = {**({"fieldSelector": selector} if selector else {}), "limit": str(chunk)}
        self._requested = asyncio.Event()
        self._lock = asyncio.Lock()
        self.there = False
        self.asked = asyncio.Event()

    def request(self) -> None:
        """Ask ``run`` for a list that begins after this call. Returns at once."""
        self._requested.set()

    def request_if_absent(self) -> None:
        """Ask for a list if the cluster did not have this kind. Returns at once."""
        if not self.there:
            self.request()

    async def run(self) -> None:
        """List now, after every request, and every hour. Returns only when cancelled."""
        absent_wait = ABSENT_FIRST
        while True:
            self._requested.clear()
            listed = await self._is_listed()
            self.asked.set()
            if listed:
                absent_wait, wait = ABSENT_FIRST, EVERY * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
            else:
                absent_wait, wait = min(absent_wait * 2, ABSENT_LAST), absent_wait
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._requested.wait()

    async def _is_listed(self) -> bool:
        """List until that succeeds; return False where the cluster does not have this kind."""
        try:
            async for attempt in AsyncRetrying(
                wait=_backoff,
                retry=retry_if_exception(_is_retried),
                before_sleep=self._log_failure,
                reraise=True,
            ):
                with attempt:
                    await self.refresh()
        except ApiFault as error:
            if not _is_absent(error):
                raise
            return False
        return True

    async def refresh(self) -> None:
        """Put a complete list that begins after this call into the store.

        Waits for a list that runs already. Raises NotReady if the API server does not answer with a
        list.
        """
        async with self._lock:
            self.there = False
            async with self._access.session() as http:
                listed, version = await self._list(http)
            self.there = True
        if not self.store.replace(listed, version):
            log.warning("the cluster was restored: resource versions start over", version=version)

    async def _list(self, http: aiohttp.ClientSession) -> tuple[list[Version[T]], int]:
        """Return all objects, page by page, and the list's resource version.

        The request has no resourceVersion: the answer then is the most recent state, not one from
        the API server's cache.
        """
        url = f"{self._access.server}{self.store.kind.path}"
        listed: list[Version[T]] = []
        query = self._query
        while True:
            page = await call(http, "GET", url, params=query)
            items, version, more = self._read_page(page)
            listed += items
            if not more:
                return listed, version
            query = {**self._query, "continue": more}

    def _read_page(self, page: Any) -> tuple[list[Version[T]], int, str]:
        """Return objects, resource version and continue token. Raises ApiFault if it is no list."""
        try:
            metadata = page["metadata"]
            items = [self.store.read(body) for body in page["items"] or ()]
            return items, int(metadata["resourceVersion"]), metadata.get("continue") or ""
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ApiFault(f"not a list of {self.store.kind.plural}: {error!r}") from error

    def _log_failure(self, attempt: RetryCallState) -> None:
        """Log the first failure in a row, then one in twenty: the API may be down for hours."""
        if attempt.attempt_number % 20 == 1:
            error = attempt.outcome.exception() if attempt.outcome else None
            what = f"cannot list {self.store.kind.plural}; retrying without end"
            log.warning(what, attempt=attempt.attempt_number, error=str(error))


def _is_retried(error: BaseException) -> bool:
    return isinstance(error, NotReady) and not _is_absent(error)


def _is_absent(error: BaseException) -> bool:
    """Return whether the API server answered 404: the cluster does not have this kind."""
    return isinstance(error, ApiFault) and error.status == 404
