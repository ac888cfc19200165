"""What kopf is told to do: log in as we say, and hand each event on. The only module that imports kopf."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import aiohttp
import kopf

from ovnlet.kube.object_store import Store

BACKOFFS = (0.25, 0.5, 1.0, 2.0)
LONGEST_BACKOFF = 3.0


def registry(
    server: str,
    http: aiohttp.ClientSession,
    stores: Sequence[Store[Any]],
    tell: Callable[[Store[Any], Any, bool], None],
) -> kopf.OperatorRegistry:
    """The handlers; ``tell`` gets each object and whether it was deleted. Other kinds than ``on.event`` write."""
    handlers = kopf.OperatorRegistry()
    before = asyncio.all_tasks()
    sessions = iter([kopf.AiohttpSession(server=server, aiohttp_session=http)])

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.AiohttpSession | None:
        """The second time the API server has refused us: None ends kopf, and it is started anew."""
        return next(sessions, None)

    def follow(store: Store[Any]) -> None:
        @kopf.on.event(store.kind.group, store.kind.version, store.kind.plural, registry=handlers)
        async def happened(event: kopf.RawEvent, **_: Any) -> None:
            tell(store, store.read(event["object"]), event["type"] == "DELETED")

    for store in stores:
        follow(store)

    @kopf.on.cleanup(registry=handlers)
    async def cleanup(**_: Any) -> None:
        """What kopf leaves running, such as requests tried again for ever, it would now wait 5 s for."""
        for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
            task.cancel()

    return handlers


def settings(stores: Sequence[Store[Any]]) -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.process.ultimate_exiting_timeout = None  # or it kills the whole process
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    for kind in (store.kind for store in stores):
        if kind.selector:
            chosen.watching.field_selectors[kind.group, kind.version, kind.plural] = kind.selector
    chosen.watching.chunk_size = 100
    chosen.networking.error_backoffs = Forever()
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 3
    chosen.queueing.idle_timeout = 1
    chosen.queueing.exit_timeout = 0.5
    chosen.persistence.diffbase_storage = NoDiffs()
    return chosen


class Forever:
    """Back-offs, in seconds, without an end: kopf gives up after the last one."""

    def __iter__(self) -> Iterator[float]:
        yield from BACKOFFS
        while True:
            yield LONGEST_BACKOFF


class NoDiffs(kopf.DiffBaseStorage):
    """Remembers nothing. By default kopf copies every object at every event to find out what changed."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
