"""The agent's last Events and log lines: kept in memory, read over its socket.

`ovnlet events --follow` reads the Events, `ovnlet bundle` the end of the log.
"""

import asyncio
import json
import logging
from collections import deque
from datetime import UTC, datetime

from aiohttp import web

KEPT = 500
# Characters of a message or a line. A message may quote an annotation of any length.
_MAX_LENGTH = 4096
# Lines that a follower may lag behind before it loses some.
_MAX_BACKLOG = 1000


class EventLog:
    """The last 500 Events, and a queue for each client that follows them."""

    def __init__(self) -> None:
        self._entries: deque[str] = deque(maxlen=KEPT)
        self._followers: set[asyncio.Queue[str | None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the agent's socket."""
        return [web.get("/v1/events", self._show), web.get("/v1/log", self._log)]

    def record(self, namespace: str, pod: str, kind: str, reason: str, message: str) -> None:
        """Keep an Event and send it to each follower. Never wait."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = {"type": kind, "reason": reason, "message": message[:_MAX_LENGTH]}
        entry = {"time": at, "namespace": namespace, "pod": pod, **event}
        line = json.dumps(entry) + "\n"
        self._entries.append(line)
        for follower in self._followers:
            if follower.qsize() < _MAX_BACKLOG:
                follower.put_nowait(line)

    def close(self) -> None:
        """End the responses to followers, which would otherwise delay the agent's end."""
        for follower in self._followers:
            follower.put_nowait(None)

    async def _show(self, request: web.Request) -> web.StreamResponse:
        """Return one JSON object a line; with `follow`, go on until the client disconnects."""
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        await answer.write("".join(self._entries).encode())
        if "follow" in request.query:
            await self._follow(answer)
        return answer

    async def _follow(self, answer: web.StreamResponse) -> None:
        """Write each line that is recorded from here on, until ``close`` is called."""
        mine: asyncio.Queue[str | None] = asyncio.Queue()
        self._followers.add(mine)
        try:
            while (line := await mine.get()) is not None:
                await answer.write(line.encode())
        finally:
            self._followers.discard(mine)

    @staticmethod
    async def _log(_: web.Request) -> web.Response:
        """Return the kept lines of the log."""
        tails = [handler for handler in logging.getLogger().handlers if isinstance(handler, Tail)]
        return web.json_response([line for tail in tails for line in tail.lines])


class Tail(logging.Handler):
    """A handler that keeps the last lines of the log in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=KEPT * 4)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, cut to 4096 characters."""
        self.lines.append(self.format(record)[:_MAX_LENGTH])
