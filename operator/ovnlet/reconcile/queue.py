"""Keys that need a pass: one worker per key, bursts coalesced, callers may wait for their pass.

A request while a key is being worked on makes exactly one more pass, which begins after the
request. A hint of the node spends from the key's budget and may be delayed; calls and edits are
not. During an ADD, hints are deferred: nearly all of them are caused by its own steps, and its last
look answers them.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.reconcile.budget import Budget, Reason

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)
R = TypeVar("R")
log = structlog.get_logger("queue")

# Seconds.
FIRST_RETRY, LAST_RETRY = 0.2, 30.0
# How long a hint may be deferred during an ADD, which may be waiting for the very change.
DEFERRED = 2.0
# Beyond this number, full budgets are dropped.
_BUDGETS = 2048


class Failed(Protocol[K_contra]):
    """The callback for a pass that failed; ``awaited`` means that a caller gets the error too."""

    def __call__(self, key: K_contra, error: OvnletError, /, *, awaited: bool) -> None:
        """Report the error. Must not raise."""
        ...


class Throttled(Protocol[K_contra]):
    """The callback for a hint that has to wait for a token, called once until the next pass."""

    def __call__(self, key: K_contra, reason: Reason, /) -> None:
        """Report which bucket is empty. Must not raise."""
        ...


@dataclass(slots=True)
class _Entry(Generic[R]):
    """A key with something to do: a pass is wanted, runs, or is due at a time."""

    wanted: bool = False
    waiters: list[asyncio.Future[R]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    is_running: bool = False
    due: asyncio.TimerHandle | None = None
    retry: float = FIRST_RETRY


class Queue(Generic[K, R]):
    """Runs ``work(key)``. Retries a failed pass after 0.2 s, doubling up to ``last_retry``."""

    def __init__(
        self,
        work: Callable[[K], Awaitable[R]],
        failed: Failed[K] = lambda _key, _error, /, *, awaited: None,
        throttled: Throttled[K] = lambda _key, _reason, /: None,
        last_retry: float = LAST_RETRY,
    ) -> None:
        self._last_retry = last_retry
        self._work, self._report_failed, self._report_throttled = work, failed, throttled
        self._entries: dict[K, _Entry[R]] = {}
        self._deferred: dict[K, asyncio.TimerHandle | None] = {}
        self._budgets: dict[K, Budget] = {}
        self._throttled: dict[K, Reason] = {}
        self._hinted: set[K] = set()
        self._closed = False

    def __len__(self) -> int:
        """Return the number of keys being worked on."""
        return sum(entry.is_running for entry in self._entries.values())

    def add(self, key: K) -> None:
        """Ask for a pass now. Return at once."""
        if self._closed:
            return
        entry = self._want(key)
        if not entry.is_running:
            self._start(key, entry)

    def hint(self, key: K) -> None:
        """Ask for a pass because the node changed: now, or when budget and deferral allow it."""
        loop = asyncio.get_running_loop()
        if key in self._deferred:
            if self._deferred[key] is None:
                self._deferred[key] = loop.call_later(DEFERRED, self._late, key)
            return
        entry = self._entries.get(key)
        if self._closed or (entry is not None and (entry.wanted or key in self._throttled)):
            return  # a pass is asked for or scheduled, and begins later
        wait, reason = self.budget(key).look(loop.time())
        if not wait:
            self._add_hinted(key)
        else:
            self._delay(key, wait, reason)

    def budget(self, key: K) -> Budget:
        """Return the budget of a key."""
        if (found := self._budgets.get(key)) is None:
            if len(self._budgets) >= _BUDGETS:
                self._drop_full_budgets()
            found = self._budgets[key] = Budget()
        return found

    def throttled(self, key: K) -> Reason | None:
        """Return which bucket a hint of this key waits for; None if none does."""
        return self._throttled.get(key)

    def take_hint(self, key: K) -> bool:
        """Return whether a hint asked for the pass that begins; a later one asks for another."""
        hinted = key in self._hinted
        self._hinted.discard(key)
        return hinted

    def forget(self, key: K) -> None:
        """Drop what is kept of a key that is gone."""
        self._hinted.discard(key)
        self._budgets.pop(key, None)
        self._throttled.pop(key, None)

    @contextmanager
    def defer_hints(self, key: K) -> Iterator[None]:
        """Defer hints within the context. Those not acknowledged at its end make a pass."""
        self._deferred[key] = None
        try:
            yield
        finally:
            if (waiting := self._deferred.pop(key)) is not None:
                waiting.cancel()
                self._add_hinted(key)

    def acknowledge(self, key: K) -> None:
        """Count every deferred hint as answered by the look that begins now."""
        if (waiting := self._deferred.get(key)) is not None:
            waiting.cancel()
            self._deferred[key] = None

    async def run(self, key: K) -> R:
        """Return the result of a pass that begins after this call, or raise its error.

        Cancelling the caller stops no pass.
        """
        if self._closed:
            raise asyncio.CancelledError("the queue is closed")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        entry = self._want(key)
        entry.waiters.append(future)
        if not entry.is_running:
            self._start(key, entry, at_once=True)
        return await future

    async def close(self) -> None:
        """Begin no more passes, and wait until the running ones end."""
        self._closed = True
        for entry in self._entries.values():
            if entry.due is not None:
                entry.due.cancel()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _want(self, key: K) -> _Entry[R]:
        """Note that a pass is to begin after this, and return the key's entry."""
        entry = self._entries.setdefault(key, _Entry())
        entry.wanted = True
        if entry.due is not None:
            entry.due.cancel()
            entry.due = None
        return entry

    def _start(self, key: K, entry: _Entry[R], *, at_once: bool = False) -> None:
        """Start the worker of a key; ``at_once`` if its caller waits for nothing but the pass."""
        entry.is_running = True
        name, work = f"reconcile {key}", self._worker(key, entry)
        if at_once and sys.version_info >= (3, 12):
            loop = asyncio.get_running_loop()
            task = asyncio.Task(work, loop=loop, name=name, eager_start=True)
        else:
            task = asyncio.create_task(work, name=name)
        if entry.is_running:
            entry.task = task

    def _late(self, key: K) -> None:
        """Run a pass for a hint that was deferred for as long as one may be."""
        self._deferred[key] = None
        self._add_hinted(key)

    def _add_hinted(self, key: K) -> None:
        self._hinted.add(key)
        self.add(key)

    def _delay(self, key: K, wait: float, reason: Reason) -> None:
        """Schedule a pass in ``wait`` seconds, unless one is due sooner."""
        self._throttled[key] = reason
        self._report_throttled(key, reason)
        entry = self._entries.setdefault(key, _Entry())
        loop = asyncio.get_running_loop()
        if entry.due is not None:
            if entry.due.when() <= loop.time() + wait:
                return
            entry.due.cancel()
        entry.due = loop.call_later(wait, self._due, key)

    def _due(self, key: K) -> None:
        self.budget(key).looks.spend(asyncio.get_running_loop().time())
        self._add_hinted(key)

    def _drop_full_budgets(self) -> None:
        now = asyncio.get_running_loop().time()
        self._budgets = {key: each for key, each in self._budgets.items() if not each.is_full(now)}

    async def _worker(self, key: K, entry: _Entry[R]) -> None:
        """Run passes while one is wanted, then schedule a retry or drop the entry."""
        failed = False
        try:
            while entry.wanted:
                entry.wanted = False
                self._throttled.pop(key, None)
                waiters, entry.waiters = entry.waiters, []
                failed = not await self._pass(key, waiters)
        finally:
            entry.task, entry.is_running = None, False
        if self._closed:
            del self._entries[key]
        elif failed:
            if entry.due is None:
                loop = asyncio.get_running_loop()
                entry.due = loop.call_later(entry.retry, self.add, key)
            entry.retry = min(entry.retry * 2, self._last_retry)
        elif entry.due is None:
            del self._entries[key]
        else:
            entry.retry = FIRST_RETRY

    async def _pass(self, key: K, waiters: list[asyncio.Future[R]]) -> bool:
        """Run a pass, give its result or error to the waiters, and return whether it succeeded."""
        try:
            result = await self._work(key)
        except asyncio.CancelledError:
            for waiter in waiters:
                waiter.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - one key must not stop others
            self._failed(key, error, waiters)
            return False
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(result)
        return True

    def _failed(self, key: K, error: Exception, waiters: list[asyncio.Future[R]]) -> None:
        self.budget(key).repairs.spend(asyncio.get_running_loop().time())
        listening = [waiter for waiter in waiters if not waiter.done()]
        for waiter in listening:
            waiter.set_exception(error)
        if not isinstance(error, OvnletError):
            log.error("pass crashed", key=key, exc_info=error)
            return
        if not listening:
            log.warning("pass failed", key=key, error=str(error), kind=type(error).__name__)
        try:
            self._report_failed(key, error, awaited=bool(listening))
        except Exception:
            log.exception("a failed pass cannot be reported", key=key)
