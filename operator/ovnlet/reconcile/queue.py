"""Keys that need a look: one worker per key, bursts coalesced, callers may wait for their look.

A hint while a key is being worked on makes exactly one more pass, which begins after the hint. During an ADD,
hints of the node wait: nearly all of them are echoes of its own steps, and its last look answers them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from ovnlet.core.errors import OvnletError

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
log = structlog.get_logger("queue")

FIRST_RETRY, LAST_RETRY = 0.2, 30.0
# How long a hint of the node may wait during an ADD: one that is stuck must not miss what would free it.
CALM = 2.0


@dataclass(slots=True)
class _Entry(Generic[R]):
    dirty: bool = False
    waiters: list[asyncio.Future[R]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    retry: asyncio.TimerHandle | None = None
    delay: float = FIRST_RETRY


class Queue(Generic[K, R]):
    """Runs ``work(key)``; a pass that fails is repeated after 0.2 s, doubling up to 30 s, until one succeeds.

    ``failed(key, error)`` is told of a failure that no caller waits for.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[R]],
        failed: Callable[[K, OvnletError], None] = lambda _key, _error: None,
    ) -> None:
        self._work, self._told_failed = work, failed
        self._entries: dict[K, _Entry[R]] = {}
        self._calm: dict[K, asyncio.TimerHandle | None] = {}
        self._closed = False

    def __len__(self) -> int:
        return sum(entry.task is not None for entry in self._entries.values())

    def add(self, key: K) -> None:
        """Ask for a pass. Returns at once."""
        if self._closed:
            return
        entry = self._entries.setdefault(key, _Entry())
        entry.dirty = True
        if entry.retry is not None:
            entry.retry.cancel()
            entry.retry = None
        if entry.task is None:
            entry.task = asyncio.create_task(self._worker(key, entry), name=f"reconcile {key}")

    def hint(self, key: K) -> None:
        """Ask for a pass because the node changed: at once, or in a calm key after two seconds."""
        if key not in self._calm:
            self.add(key)
        elif self._calm[key] is None:
            self._calm[key] = asyncio.get_running_loop().call_later(CALM, self._late, key)

    @contextmanager
    def calm(self, key: K) -> Iterator[None]:
        """Hints of the node wait meanwhile; those that nothing has answered by the end make a pass."""
        self._calm[key] = None
        try:
            yield
        finally:
            if (waiting := self._calm.pop(key)) is not None:
                waiting.cancel()
                self.add(key)

    def answer(self, key: K) -> None:
        """The look that begins now answers every hint that waits."""
        if (waiting := self._calm.get(key)) is not None:
            waiting.cancel()
            self._calm[key] = None

    def _late(self, key: K) -> None:
        self._calm[key] = None
        self.add(key)

    async def run(self, key: K) -> R:
        """The result of a pass that begins after this call, or its error. Cancelling the caller stops no pass."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.add(key)
        if self._closed:
            raise asyncio.CancelledError("the queue is closed")
        self._entries[key].waiters.append(future)
        return await future

    async def close(self) -> None:
        """Let the passes under way end; begin none."""
        self._closed = True
        for entry in self._entries.values():
            if entry.retry is not None:
                entry.retry.cancel()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _worker(self, key: K, entry: _Entry[R]) -> None:
        failed = False
        while entry.dirty:
            entry.dirty = False
            waiters, entry.waiters = entry.waiters, []
            failed = not await self._pass(key, waiters)
        entry.task = None
        if failed and not self._closed:
            entry.retry = asyncio.get_running_loop().call_later(entry.delay, self.add, key)
            entry.delay = min(entry.delay * 2, LAST_RETRY)
        else:
            del self._entries[key]

    async def _pass(self, key: K, waiters: list[asyncio.Future[R]]) -> bool:
        try:
            result = await self._work(key)
        except Exception as error:  # noqa: BLE001 - the top of the worker: one key's trouble must not end another's
            self._failed(key, error, waiters)
            return False
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(result)
        return True

    def _failed(self, key: K, error: Exception, waiters: list[asyncio.Future[R]]) -> None:
        listening = [waiter for waiter in waiters if not waiter.done()]
        for waiter in listening:
            waiter.set_exception(error)
        if not isinstance(error, OvnletError):
            log.error("pass crashed", key=key, exc_info=error)
        elif not listening:
            log.warning("pass failed", key=key, error=str(error), kind=type(error).__name__)
            self._told_failed(key, error)
