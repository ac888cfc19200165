"""A few objects followed by list and watch: the agent's own Node, and the Subnets where the cluster has such a kind.

kopf is no help here: a kind whose CRD comes later than the agent it never sees. A list that is wrong for a moment does
no harm, so what is told is always all objects there are, never what became of one.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import structlog

from ovnlet.cluster.session import Access, ApiFault, call
from ovnlet.core.errors import NotReady

PAUSE, LONGEST_PAUSE, ABSENT_PAUSE = 0.25, 4.0, 5.0
# The API server ends a watch by itself after this; without it, after half an hour or more.
WATCH = 300
_LINE = 4 << 20  # an event is one line, and a Node names every image it has
log = structlog.get_logger("following")

Object = Mapping[str, Any]


class Following:
    """``told`` is given all objects of ``path`` that ``field_selector`` leaves, by name, after each change of one."""

    def __init__(
        self, access: Access, path: str, told: Callable[[Mapping[str, Object]], None], field_selector: str = ""
    ) -> None:
        self._access, self._path, self._told = access, path, told
        self._query = {"fieldSelector": field_selector} if field_selector else {}

    async def run(self) -> None:
        """Ends only when cancelled."""
        pause, row = PAUSE, 0
        while True:
            try:
                async with self._access.session() as http:
                    await self._live(http)
                pause, row = PAUSE, 0
            except (aiohttp.ClientError, OSError, ValueError, NotReady) as error:
                absent = isinstance(error, ApiFault) and error.status == 404
                if row % 20 == 0 and not absent:
                    log.warning("cannot follow; trying for ever", path=self._path, attempt=row + 1, error=str(error))
                pause, row = (ABSENT_PAUSE, 0) if absent else (min(pause * 2, LONGEST_PAUSE), row + 1)
            await asyncio.sleep(pause)

    async def _live(self, http: aiohttp.ClientSession) -> None:
        """One list, and its watch until that ends."""
        url = f"{self._access.server}{self._path}"
        page = await call(http, "GET", url, params=self._query)
        try:
            there = {item["metadata"]["name"]: item for item in page["items"] or ()}
            version = page["metadata"]["resourceVersion"]
        except (KeyError, TypeError) as error:
            raise ApiFault(f"{self._path}: not a list: {error!r}") from error
        self._told(there)
        query = {**self._query, "watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH)}
        patience = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=WATCH + 30)
        async with http.get(url, params=query, timeout=patience, read_bufsize=_LINE) as answer:
            if not answer.ok:
                raise ApiFault(f"{self._path}: {answer.status} {answer.reason}", answer.status)
            async for line in answer.content:
                if not _take(line, there):
                    return
                self._told(there)


def _take(line: bytes, there: dict[str, Object]) -> bool:
    """Whether the watch goes on."""
    try:
        event = json.loads(line)
        kind, body = event["type"], event["object"]
        name = body["metadata"]["name"] if kind != "ERROR" else ""
    except (ValueError, KeyError, TypeError) as error:
        raise ApiFault(f"not an event: {error!r}") from error
    match kind:
        case "ADDED" | "MODIFIED":
            there[name] = body
        case "DELETED":
            there.pop(name, None)
        case "ERROR":  # usually 410: history was compacted
            return False
        case _:  # a BOOKMARK
            pass
    return True
