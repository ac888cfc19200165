"""An API server over HTTP for the tools of a cluster: recorded objects, and `exec` by WebSocket.

What the agents' containers print is recorded too, by node and words. A test changes the objects and
answers, and reads in ``asked`` what it was asked for.
"""

import asyncio
import json
import threading
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import web

Body = dict[str, Any]
RECORDED = Path(__file__).parent / "recorded" / "cluster.json"
TOKEN = "of-a-person"  # noqa: S105 - made up
_PROTOCOL = "v4.channel.k8s.io"
_STDOUT, _STDERR, _END = 1, 2, 3


@dataclass(slots=True)
class Answer:
    """What a program in a container prints, and how it and its connection end."""

    stdout: bytes = b""
    stderr: bytes = b""
    code: int = 0
    end: Literal["status", "cut", "unknown", "refused", "open"] = "status"

    def status(self) -> Body:
        """Return the last message of an `exec`."""
        if self.end == "unknown":
            return {"status": "Failure", "message": "no such container", "details": None}
        if not self.code:
            return {"status": "Success"}
        causes = [{"reason": "ExitCode", "message": str(self.code)}]
        return {
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: {self.code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": causes},
        }


@dataclass(slots=True)
class ApiServer:
    """Serves in a thread of its own, as a context manager.

    ``objects`` are the items by plural, ``answers`` those of the programs by node and words.
    ``logs`` are the pods' by name; ``asked`` has each `exec` as node and words.
    """

    objects: dict[str, list[Body]]
    answers: dict[tuple[str, ...], Answer]
    logs: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    token: str = TOKEN
    url: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: threading.Thread | None = None

    @classmethod
    def recorded(cls) -> Self:
        """Return a cluster of two nodes, as tests/proofs/tools recorded it."""
        whole = json.loads(RECORDED.read_text())
        answers = {
            (node, *one["words"]): Answer(one["stdout"].encode(), code=one["code"])
            for node, found in whole["answers"].items()
            for one in found
        }
        return cls(deepcopy(whole["objects"]), answers)

    def the(self, plural: str, name: str) -> Body:
        """Return an object, to be read or changed."""
        (found,) = (one for one in self.objects[plural] if one["metadata"]["name"] == name)
        return found

    def agent(self, node: str) -> Body:
        """Return the pod of a node's agent."""
        (found,) = (
            pod
            for pod in self.objects["pods"]
            if pod["spec"]["nodeName"] == node
            and pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "ovnlet"
        )
        return found

    def answer(self, node: str, *words: str) -> Any:
        """Return what a program prints there, as JSON."""
        return json.loads(self.answers[node, *words].stdout)

    def say(self, value: Any, node: str, *words: str, code: int = 0) -> None:
        """Have a program print a value as JSON."""
        self.answers[node, *words] = Answer(json.dumps(value).encode(), code=code)

    def __enter__(self) -> Self:
        """Listen on a free port of loopback."""
        started = threading.Event()

        async def serve() -> None:
            app = web.Application()
            app.router.add_get("/{path:.*}", self._handle)
            # Whoever follows is cut off at the end.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            started.set()
            await self._stop.wait()
            await runner.cleanup()

        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(),))
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        """End, with all connections."""
        assert self._thread
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        words = request.match_info["path"].split("/")
        words = words[2:] if words[0] == "api" else words[3:]
        namespace = ""
        if words[0] == "namespaces":
            namespace, words = words[1], words[2:]
        plural, name, *below = [*words, ""][: max(2, len(words))]
        chosen = [
            one
            for one in self.objects[plural]
            if one["metadata"].get("namespace", "") == namespace or not namespace
        ]
        if not name:
            wanted = _labels(request.query.get("labelSelector", ""))
            items = [
                one for one in chosen if wanted.items() <= one["metadata"].get("labels", {}).items()
            ]
            return web.json_response({"kind": "List", "items": items})
        found = [one for one in chosen if one["metadata"]["name"] == name]
        if not found:
            return _status(404, f'{plural} "{name}" not found')
        if below == ["exec"]:
            return await self._execute(request, found[0])
        if below == ["log"]:
            text = self.logs.get(name)
            return _status(500, "no log") if text is None else web.Response(text=text)
        return web.json_response(found[0])

    async def _execute(self, request: web.Request, pod: Body) -> web.StreamResponse:
        command = request.query.getall("command")
        assert command[0] == "ovnlet"
        asked = (pod["spec"]["nodeName"], *command[1:])
        self.asked.append(asked)
        answer = self.answers.get(asked) or Answer(stderr=f"unknown: {asked}\n".encode(), code=2)
        if answer.end == "refused":
            return _status(403, "pods/exec is forbidden")
        socket = web.WebSocketResponse(protocols=(_PROTOCOL,))
        await socket.prepare(request)
        for channel, data in ((_STDOUT, answer.stdout), (_STDERR, answer.stderr)):
            if data:
                await socket.send_bytes(bytes([channel]) + data)
        if answer.end == "open":
            await socket.receive()
        elif answer.end != "cut":
            await socket.send_bytes(bytes([_END]) + json.dumps(answer.status()).encode())
        await socket.close()
        return socket


def _labels_of(one: Body) -> dict[str, str]:
    return dict(one["metadata"].get("labels") or {})


def _labels(selector: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in selector.split(",") if each)


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


def write_kubeconfig(path: Path, url: str, user: Mapping[str, Any] | None = None) -> Path:
    """Write a kubeconfig whose context `c` is of the namespace `default`, by a token."""
    content = {
        "current-context": "c",
        "contexts": [
            {"name": "c", "context": {"cluster": "k", "user": "u"}},
            {"name": "shop", "context": {"cluster": "k", "user": "u", "namespace": "shop"}},
        ],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": dict(user or {"token": TOKEN})}],
    }
    path.write_text(json.dumps(content))
    return path
