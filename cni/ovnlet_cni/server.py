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
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from ovnlet_cni import kube_ovn, listener, request
from ovnlet_cni.dispatch import Agent, Dispatch
from ovnlet_cni.errors import CniError, Code
from ovnlet_cni.netconf import stated_version
from ovnlet_cni.pending_deletes import PendingDeletes
from ovnlet_cni.plugin_protocol import PluginProtocol
from ovnlet_cni.site import Site

MAX_BODY = 3 << 20  # bytes: 1 MiB of stdin with every byte escaped, and the environment
SOCKET_CHECK_INTERVAL = 2.0  # seconds
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Call:
    """What is known of a call: its verb and, once it is read, its attachment."""

    verb: str = ""
    container: str = ""
    ifname: str = ""
    config: str = ""

    @property
    def subject(self) -> dict[str, str]:
        """What identifies the call in the log."""
        return {"verb": self.verb, "container": self.container, "ifname": self.ifname}


class Server:
    """The CNI server.

    It listens from `start` to `stop`; `keep_listening` has it listen again if its socket file is
    removed. `kube_ovn_site` is a second socket, which answers the same and which others keep.
    `served` is called after each request with the verb, the error code (0 for success) and the
    seconds it took.
    """

    def __init__(
        self,
        agent: Agent,
        socket_path: Path,
        routes: Iterable[web.RouteDef] = (),
        served: Callable[[str, int, float], None] = lambda _verb, _code, _seconds: None,
        kube_ovn_socket: Path | None = None,
    ) -> None:
        """Create a server that also serves `routes` on its socket."""
        self._dispatch = Dispatch(agent, PendingDeletes.beside(socket_path))
        self._on_served, self._path = served, socket_path
        self._running: set[asyncio.Task[object]] = set()
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._admit])
        app.add_routes([web.post("/cni", self._cni), *routes])
        app.add_routes([web.post(kube_ovn.ADD, self._add_by_kube_ovn)])
        app.add_routes([web.post(kube_ovn.DEL, self._delete_by_kube_ovn)])
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0
        )
        self._site = Site(self._protocol, socket_path)
        self.kube_ovn_site = Site(self._protocol, kube_ovn_socket) if kube_ovn_socket else None

    async def start(self) -> None:
        """Listen. Raises UnusableSocket or OSError if the path cannot be our socket."""
        await self._runner.setup()
        await self._listen()

    async def stop(self, grace: float = 10.0) -> None:
        """Accept no more requests and wait up to `grace` seconds for the running ones.

        After that they are cancelled, and the agent undoes them.
        """
        for site in (self._site, self.kube_ovn_site):
            if site is not None:
                await site.end()
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
        await self._site.listen()

    async def keep_listening(self) -> None:
        """Check the socket file every SOCKET_CHECK_INTERVAL, and replace it if it was removed.

        A file that another live server listens on is left alone, and reported once. Returns only
        when cancelled. Raises OSError if the file cannot be checked; it may be called again then.
        """
        yielded = False
        while True:
            await asyncio.sleep(SOCKET_CHECK_INTERVAL)
            if self._site.is_ours:
                continue
            if self._site.is_foreign:
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
        if not _is_admitted(request.transport):
            uid = _peer_uid(request.transport)
            _log.warning("refused a caller of the CNI socket", uid=uid)
            refusal = CniError(
                Code.INVALID_ENVIRONMENT,
                f"user {uid} may not use this socket",
                "call the plugin as root",
            )
            body = refusal.render()
            if request.path in (kube_ovn.ADD, kube_ovn.DEL):
                _, body = kube_ovn.refusal(refusal)
            return web.Response(status=403, body=body, content_type="application/json")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of aiohttp's always runs in a task
        self._running.add(task)
        try:
            return await handler(request)
        finally:
            self._running.discard(task)

    def _protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        library = self._runner.server
        assert library is not None  # noqa: S101 - it is there from `start` on
        return PluginProtocol(self._answer, _is_admitted, library, self._running, MAX_BODY)

    async def _cni(self, http: web.Request) -> web.StreamResponse:
        """Answer a call that does not have the form of the plugin's."""
        status, body = await self._answer(http)
        return web.Response(status=status, body=body, content_type="application/json")

    async def _answer(self, given: bytes | web.Request) -> tuple[int, bytes]:
        """Answer one call, always with a result or an error object, by its body."""
        call = _Call()

        async def answered() -> bytes:
            body = given if isinstance(given, bytes) else await _read(given)
            env, call.config = _parse_body(body)
            call.verb = env.get("CNI_COMMAND", "")
            call.container, call.ifname = (
                env.get(key, "") for key in ("CNI_CONTAINERID", "CNI_IFNAME")
            )
            return await self._dispatch.answer(request.read(env, call.config))

        end = await self._ended(call, answered())
        if isinstance(end, bytes):
            return 200, end
        return end.http_status, end.render(stated_version(call.config))

    async def _add_by_kube_ovn(self, http: web.Request) -> web.StreamResponse:
        """Answer an ADD of Kube-OVN's plugin."""
        call = _Call("ADD")

        async def answered() -> bytes:
            attach = kube_ovn.read_add(await _read(http))
            call.container, call.ifname = attach.container_id, attach.ifname
            return kube_ovn.answer(await self._dispatch.add(attach))

        return _of_kube_ovn(await self._ended(call, answered()), 200)

    async def _delete_by_kube_ovn(self, http: web.Request) -> web.StreamResponse:
        """Answer a DEL of Kube-OVN's plugin."""
        call = _Call("DEL")

        async def answered() -> bytes:
            detach = kube_ovn.read_delete(await _read(http))
            call.container, call.ifname = detach.container_id, detach.ifname
            await self._dispatch.delete(detach)
            return b""

        return _of_kube_ovn(await self._ended(call, answered()), 204)

    async def _ended(self, call: _Call, answering: Awaitable[bytes]) -> bytes | CniError:
        """Return the answer or the error of a call. Log the error, and count both."""
        began, code = time.monotonic(), 0
        end: bytes | CniError
        try:
            end = await answering
        except CniError as error:
            end, code = error, int(error.code)
            # STATUS is polled all the time, and a change of it is logged on its own.
            if call.verb != "STATUS":
                _log.warning("CNI request failed", **call.subject, code=code, reason=error.message)
        except Exception as error:  # noqa: BLE001 - the runtime always gets an error object
            code = int(Code.INTERNAL)
            text = f"unexpected {type(error).__name__}: {error}"
            end = CniError(Code.INTERNAL, text, "see the agent's log")
            _log.exception("CNI request failed unexpectedly", **call.subject)
        self._on_served(call.verb, code, time.monotonic() - began)
        return end


def _is_admitted(transport: asyncio.BaseTransport | None) -> bool:
    """Return whether the client is root or our own user."""
    return _peer_uid(transport) in (0, os.geteuid())


def _peer_uid(transport: asyncio.BaseTransport | None) -> int:
    """Return the user ID of the client, or -1 if it has disconnected."""
    if transport is None:  # the client has disconnected already
        return -1
    peer: socket.socket = transport.get_extra_info("socket")
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


async def _read(http: web.Request) -> bytes:
    """Return the request's body. Raises CniError."""
    try:
        return await http.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise CniError(
            Code.DECODE, f"the request is larger than {MAX_BODY} bytes", "shorten the configuration"
        ) from error


def _parse_body(text: bytes) -> tuple[Mapping[str, str], str]:
    """Return environment and stdin of the plugin from the request's body. Raises CniError."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(Code.DECODE, f"the request is not JSON: {error}") from error
    match body:
        case {"env": dict(env), "config": str(config)} if all(
            isinstance(value, str) for value in env.values()
        ):
            return env, config
    raise CniError(Code.DECODE, 'the request is not {"env": {"CNI_…": "…"}, "config": "…"}')


def _of_kube_ovn(end: bytes | CniError, good: int) -> web.Response:
    """Return an answer or an error in the format of Kube-OVN's plugin."""
    status, body = (good, end) if isinstance(end, bytes) else kube_ovn.refusal(end)
    if not body:
        return web.Response(status=status)
    return web.Response(status=status, body=body, content_type="application/json")
