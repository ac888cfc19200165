"""kopf's handlers and settings: log in with our session, and pass every watch event on.

This is the only module that imports kopf at its top; `kopf_runner` imports it in kopf's thread.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import aiohttp
import kopf

from ovnlet.kube.object_store import Store

BACKOFFS = (0.25, 0.5, 1.0, 2.0)
MAX_BACKOFF = 3.0


def registry(
    server: str,
    http: aiohttp.ClientSession,
    stores: Sequence[Store[Any]],
    deliver: Callable[[Store[Any], Any, bool], None],
) -> kopf.OperatorRegistry:
    """Return handlers that call ``deliver(store, version, deleted)`` for each watch event.

    Objects get ``on.event`` handlers only, because kopf's other handlers write to the objects.
    """
    handlers = kopf.OperatorRegistry()
    before = asyncio.all_tasks()
    sessions = iter([kopf.AiohttpSession(server=server, aiohttp_session=http)])

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.AiohttpSession | None:
        """Return our session once. kopf asks again when the API server rejected it; None ends kopf.

        KopfRunner then restarts it with a new session.
        """
        return next(sessions, None)

    def watch(store: Store[Any]) -> None:
        @kopf.on.event(store.kind.group, store.kind.version, store.kind.plural, registry=handlers)
        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            deliver(store, store.read(event["object"]), event["type"] == "DELETED")

    for store in stores:
        watch(store)

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        """Cancel what kopf leaves running, such as requests that it retries without end.

        kopf would otherwise wait 5 s for these tasks.
        """
        for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
            task.cancel()

    return handlers


def settings(stores: Sequence[Store[Any]]) -> kopf.OperatorSettings:
    """Return settings with which kopf only watches, never writes, and retries without end."""
    chosen = kopf.OperatorSettings()
    chosen.process.ultimate_exiting_timeout = None  # otherwise kopf kills the whole process
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    for kind in (store.kind for store in stores):
        if kind.selector:
            chosen.watching.field_selectors[kind.group, kind.version, kind.plural] = kind.selector
    chosen.watching.chunk_size = 100
    chosen.networking.error_backoffs = EndlessBackoff()
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 3
    chosen.queueing.idle_timeout = 1
    chosen.queueing.exit_timeout = 0.5
    chosen.persistence.diffbase_storage = NoDiffs()
    return chosen


class EndlessBackoff:
    """Back-off delays in seconds, without an end: kopf gives up after the last delay."""

    def __iter__(self) -> Iterator[float]:
        """Start over: kopf iterates once per request."""
        yield from BACKOFFS
        while True:
            yield MAX_BACKOFF


class NoDiffs(kopf.DiffBaseStorage):
    """A storage that stores nothing.

    By default kopf copies every object at every event to find out what changed.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return an empty essence instead of a copy of the object."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Return None: nothing was stored."""
        return

    def store(self, **_: Any) -> None:
        """Store nothing."""
        return
