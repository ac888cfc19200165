"""What the agent told about pods lately, and what it logged: kept in memory, read over its socket.

`ovnlet events --follow` listens here; `ovnlet bundle` takes the log's tail.
"""

import asyncio
import json
import logging
from collections import deque
from datetime import UTC, datetime

from aiohttp import web

KEPT = 500
_LONGEST = 4096  # characters of a message or a line: what somebody else's edit says must not fill the memory
_BEHIND = 1000  # lines that a follower may lag before it loses some


class EventLog:
    """``close`` ends those who follow: they must not hold up the agent's end."""

    def __init__(self) -> None:
        self._entries: deque[str] = deque(maxlen=KEPT)
        self._followers: set[asyncio.Queue[str | None]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/events", self._show), web.get("/v1/log", self._log)]

    def record(self, namespace: str, pod: str, kind: str, reason: str, message: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"type": kind, "reason": reason, "message": message[:_LONGEST]}
        entry = {"time": at, "namespace": namespace, "pod": pod, **told}
        line = json.dumps(entry) + "\n"
        self._entries.append(line)
        for follower in self._followers:
            if follower.qsize() < _BEHIND:
                follower.put_nowait(line)

    def close(self) -> None:
        for follower in self._followers:
            follower.put_nowait(None)

    async def _show(self, request: web.Request) -> web.StreamResponse:
        """One JSON object a line; with `follow` it goes on until somebody hangs up."""
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        await answer.write("".join(self._entries).encode())
        if "follow" in request.query:
            await self._follow(answer)
        return answer

    async def _follow(self, answer: web.StreamResponse) -> None:
        mine: asyncio.Queue[str | None] = asyncio.Queue()
        self._followers.add(mine)
        try:
            while (line := await mine.get()) is not None:
                await answer.write(line.encode())
        finally:
            self._followers.discard(mine)

    @staticmethod
    async def _log(_: web.Request) -> web.Response:
        tails = [handler for handler in logging.getLogger().handlers if isinstance(handler, Tail)]
        return web.json_response([line for tail in tails for line in tail.lines])


class Tail(logging.Handler):
    """The last lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=KEPT * 4)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:_LONGEST])
