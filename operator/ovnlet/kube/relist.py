"""Our own LIST of a kind, such as this node's pods: the only thing that tells that an object is gone for sure."""

import asyncio
from typing import Any, Generic, TypeVar

import aiohttp
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from ovnlet.core.errors import NotReady
from ovnlet.kube.object_store import Store, StoredObject, Version
from ovnlet.kube.session import Access, ApiFault, call

# Objects in one answer: a pod may have 256 KiB of annotations, and there are hundreds on a node.
CHUNK = 20
# Seconds, at most, between tries; and until a kind that the cluster does not have is asked for again.
LONGEST_WAIT, ABSENT_WAIT = 4.0, 5.0
log = structlog.get_logger("listing")
T = TypeVar("T", bound=StoredObject)
_hasten = wait_random_exponential(multiplier=0.25, max=LONGEST_WAIT, min=0.1)


class Relist(Generic[T]):
    """Lists when asked, and until it succeeds. One list at a time, so that none overtakes another.

    ``there`` tells whether the last try succeeded. A kind may come with its CRD long after the agent; one that the
    cluster does not have (404) changes nothing in the store: the API server answers so too while it starts.
    """

    def __init__(self, access: Access, store: Store[T]) -> None:
        self._access, self.store = access, store
        selector = store.kind.selector
        self._query = {**({"fieldSelector": selector} if selector else {}), "limit": str(CHUNK)}
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._alone = asyncio.Lock()
        self.there = False

    def request(self) -> None:
        """Ask for a list that begins after now."""
        self._wanted.set()

    async def run(self) -> None:
        """List now, then whenever one was asked for. Ends only when cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            async for attempt in AsyncRetrying(
                wait=_pause, retry=retry_if_exception_type(NotReady), before_sleep=self._tell
            ):
                with attempt:
                    await self.refresh()

    async def refresh(self) -> None:
        """Put a complete list that began after this call into the store. Raises NotReady."""
        async with self._alone:
            self.there = False
            async with self._access.session() as http:
                listed, version = await self._list(http)
            self.there = True
        if not self.store.listed(listed, version):
            log.warning("the cluster was restored: resource versions run anew", version=version)

    async def _list(self, http: aiohttp.ClientSession) -> tuple[list[Version[T]], int]:
        """Without a resourceVersion the answer is the most recent state, not what a cache remembers."""
        url = f"{self._access.server}{self.store.kind.path}"
        listed: list[Version[T]] = []
        query = self._query
        while True:
            page = await call(http, "GET", url, params=query)
            seen, version, more = self._read_page(page)
            listed += seen
            if not more:
                return listed, version
            query = {**self._query, "continue": more}

    def _read_page(self, page: Any) -> tuple[list[Version[T]], int, str]:
        try:
            metadata = page["metadata"]
            seen = [self.store.read(body) for body in page["items"] or ()]
            return seen, int(metadata["resourceVersion"]), metadata.get("continue") or ""
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ApiFault(f"not a list of {self.store.kind.plural}: {error!r}") from error

    def _tell(self, attempt: RetryCallState) -> None:
        """The first failure of a row and then one in twenty: the API server may be away for hours."""
        if attempt.attempt_number % 20 == 1 and not _is_absent(attempt):
            error = attempt.outcome.exception() if attempt.outcome else None
            what = f"cannot list {self.store.kind.plural}; trying for ever"
            log.warning(what, attempt=attempt.attempt_number, error=str(error))


def _pause(attempt: RetryCallState) -> float:
    return ABSENT_WAIT if _is_absent(attempt) else _hasten(attempt)


def _is_absent(attempt: RetryCallState) -> bool:
    error = attempt.outcome.exception() if attempt.outcome else None
    return isinstance(error, ApiFault) and error.status == 404
