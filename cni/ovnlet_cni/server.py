"""The CNI server of the agent: HTTP/1.1 on a unix socket, one POST for each call of the plugin.

`POST /cni` takes `{"env": {"CNI_COMMAND": …}, "config": "<stdin>"}`. The answer 200 contains the
plugin's stdout for exit code 0; every other answer contains the specification's error object for
exit code 1. A client that disconnects cancels its request: the runtime has given up, and the agent
must undo what it has begun.
"""

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog
from aiohttp import web

from ovnlet_cni import listener, netns, request
from ovnlet_cni.errors import NEWEST_VERSION, SUPPORTED_VERSIONS, CniError, Code
from ovnlet_cni.netconf import stated_version
from ovnlet_cni.pending_deletes import PendingDeletes
from ovnlet_cni.request import Attach, Check, Collect, Detach, Status, Version
from ovnlet_cni.result import Attached

MAX_BODY = 3 << 20  # bytes: 1 MiB of stdin with every byte escaped, and the environment
SOCKET_CHECK_INTERVAL = 2.0  # seconds
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = structlog.get_logger(__name__)


class Agent(Protocol):
    """What the server needs of an agent.

    Every method may raise CniError, and is cancelled when its client disconnects.
    """

    async def add(self, attach: Attach, /) -> Attached:
        """Attach the pod and return what it has."""

    async def delete(self, detach: Detach, /) -> None:
        """Detach the pod. Succeed if there is nothing to detach."""

    async def check(self, attach: Attach, /) -> None:
        """Return if the attachment is as in the result of its ADD."""

    async def status(self) -> None:
        """Return if pods can be attached now."""

    async def gc(self, valid: frozenset[tuple[str, str]], /) -> None:
        """Detach everything that is not among the valid pairs of container ID and interface."""


class Server:
    """The CNI server.

    It listens from `start` to `stop`; `keep_listening` has it listen again if its socket file is
    removed. `served` is called after each request with the verb, the error code (0 for success) and
    the seconds it took.
    """

    def __init__(
        self,
        agent: Agent,
        socket_path: Path,
        routes: Iterable[web.RouteDef] = (),
        served: Callable[[str, int, float], None] = lambda _verb, _code, _seconds: None,
    ) -> None:
        """Create a server that also serves `routes` on its socket."""
        self._agent, self._on_served = agent, served
        self._path = socket_path
        self._pending_deletes = PendingDeletes.beside(socket_path)
        self._running: set[asyncio.Task[object]] = set()
        self._bound: tuple[int, int] | None = None
        self._site: web.SockSite | None = None
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._admit])
        app.add_routes([web.post("/cni", self._cni), *routes])
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0
        )

    async def start(self) -> None:
        """Listen. Raises UnusableSocket or OSError if the path cannot be our socket."""
        await self._runner.setup()
        await self._listen()

    async def stop(self, grace: float = 10.0) -> None:
        """Accept no more requests and wait up to `grace` seconds for the running ones.

        After that they are cancelled, and the agent undoes them.
        """
        if self._bound is not None and listener.identity(self._path) == self._bound:
            self._path.unlink(missing_ok=True)
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._runner.cleanup()

    async def _listen(self) -> None:
        """Listen on a new socket, and close the old one once the new one is in place."""
        listener.prepare_directory(self._path.parent)
        site, old = web.SockSite(self._runner, listener.listen(self._path)), self._site
        await site.start()
        self._site, self._bound = site, listener.identity(self._path)
        if old is not None:
            await old.stop()

    async def keep_listening(self) -> None:
        """Check the socket file every SOCKET_CHECK_INTERVAL, and replace it if it was removed.

        A file that another live server listens on is left alone, and reported once. Returns only
        when cancelled. Raises OSError if the file cannot be checked; it may be called again then.
        """
        yielded = False
        while True:
            await asyncio.sleep(SOCKET_CHECK_INTERVAL)
            found = listener.identity(self._path)
            if found == self._bound:
                continue
            if found is not None and listener.is_answered(self._path):
                if not yielded:
                    _log.error(
                        "another server has taken over the CNI socket", socket=str(self._path)
                    )
                yielded = True
                continue
            _log.warning("the CNI socket was removed, listening again", socket=str(self._path))
            # For example a full file system. The next check tries again.
            with suppress(OSError, listener.UnusableSocket):
                await self._listen()
                yielded = False

    @web.middleware
    async def _admit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Admit only root and our own user, by the kernel's SO_PEERCRED, and track the request."""
        uid = _peer_uid(request)
        if uid not in (0, os.geteuid()):
            _log.warning("refused a caller of the CNI socket", uid=uid)
            refusal = CniError(
                Code.INVALID_ENVIRONMENT,
                f"user {uid} may not use this socket",
                "call the plugin as root",
            )
            return web.Response(status=403, body=refusal.render(), content_type="application/json")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of aiohttp's always runs in a task
        self._running.add(task)
        try:
            return await handler(request)
        finally:
            self._running.discard(task)

    async def _cni(self, http: web.Request) -> web.StreamResponse:
        """Answer one call of the plugin, always with a result or an error object."""
        env: Mapping[str, str] = {}
        config, began = "", time.monotonic()
        try:
            env, config = await _read_body(http)
            body = await self._answer(request.read(env, config))
            self._on_served(env["CNI_COMMAND"], 0, time.monotonic() - began)
            return web.Response(body=body, content_type="application/json")
        except CniError as error:
            failure = error
            # STATUS is polled all the time, and a change of it is logged on its own.
            if env.get("CNI_COMMAND") != "STATUS":
                _log.warning(
                    "CNI request failed",
                    **_subject(env),
                    code=int(error.code),
                    reason=error.message,
                )
        except Exception as error:  # noqa: BLE001 - the runtime always gets an error object
            failure = CniError(
                Code.INTERNAL, f"unexpected {type(error).__name__}: {error}", "see the agent's log"
            )
            _log.exception("CNI request failed unexpectedly", **_subject(env))
        self._on_served(env.get("CNI_COMMAND", ""), int(failure.code), time.monotonic() - began)
        body = failure.render(stated_version(config))
        return web.Response(status=failure.http_status, body=body, content_type="application/json")

    async def _answer(self, call: request.Request) -> bytes:
        """Return what the plugin prints on stdout for a call that succeeds. Raises CniError."""
        match call:
            case Attach():
                return await self._add(call)
            case Check(attach):
                netns.require_foreign(attach.netns, attach.netns_override)
                await self._agent.check(attach)
            case Detach():
                await self._agent.delete(call)
                self._pending_deletes.remove(call.container_id, call.ifname)
            case Collect():
                await self._agent.gc(call.valid)
            case Status():
                await self._agent.status()
            case Version():
                answer = {"cniVersion": NEWEST_VERSION, "supportedVersions": SUPPORTED_VERSIONS}
                return json.dumps(answer).encode() + b"\n"
        return b""

    async def _add(self, attach: Attach) -> bytes:
        netns.require_foreign(attach.netns, attach.netns_override)
        # A runtime never runs two verbs for one container at once, so a pending delete is older
        # than this ADD and obsolete.
        self._pending_deletes.remove(attach.container_id, attach.ifname)
        attached = await self._agent.add(attach)
        return attached.after(attach.prev_result).render(attach.version)


def _peer_uid(http: web.Request) -> int:
    """Return the user ID of the client, or -1 if it has disconnected."""
    if http.transport is None:  # the client has disconnected already
        return -1
    peer: socket.socket = http.transport.get_extra_info("socket")
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


async def _read_body(http: web.Request) -> tuple[Mapping[str, str], str]:
    """Return environment and stdin of the plugin from the request's body. Raises CniError."""
    try:
        body = json.loads(await http.read())
    except web.HTTPRequestEntityTooLarge as error:
        raise CniError(
            Code.DECODE, f"the request is larger than {MAX_BODY} bytes", "shorten the configuration"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CniError(Code.DECODE, f"the request is not JSON: {error}") from error
    match body:
        case {"env": dict(env), "config": str(config)} if all(
            isinstance(value, str) for value in env.values()
        ):
            return env, config
    raise CniError(Code.DECODE, 'the request is not {"env": {"CNI_…": "…"}, "config": "…"}')


def _subject(env: Mapping[str, str]) -> dict[str, str]:
    """Return what identifies the call in the log."""
    return {
        "verb": env.get("CNI_COMMAND", ""),
        "container": env.get("CNI_CONTAINERID", ""),
        "ifname": env.get("CNI_IFNAME", ""),
    }
