"""The API server as the tools use it: who runs where, and programs in the agents' containers.

A connection per program: the client's `stream` replaces a method of the client that it is given, so
threads may not share one.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

import click

from ovnlet.cluster.failures import as_not_ready, broken, reason, unusable, words
from ovnlet.core.errors import NotReady

NAMESPACE = "ovnlet-system"
AGENT, CONTROLLER, CONTAINER = "ovnlet", "ovnlet-controller", "agent"
# Seconds for a request, and between two looks at a connection that is silent.
_TIMEOUT, _LOOK = 10.0, 1.0
_STDOUT, _STDERR, _END = 1, 2, 3


@cache
def _library() -> Any:
    """Return the official client. Raise ClickException without the extra that has it.

    Its import takes a third of a second, so `--help` does without.
    """
    try:
        import kubernetes.config  # noqa: PLC0415
        import kubernetes.stream  # noqa: PLC0415
        import websocket  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(
            "the Kubernetes client is not installed: pip install 'ovnlet[cli]'"
        ) from error
    # The client logs why a plugin of the kubeconfig failed, and goes on without credentials.
    logging.basicConfig(format="Error: %(message)s", level=logging.ERROR)
    # The client opens a WebSocket without a time limit, and a kubelet that hangs never answers.
    kubernetes.stream.ws_client.WebSocket = _timed(websocket.WebSocket)
    return kubernetes


def _timed(kind: Any) -> Any:
    """Return a kind of WebSocket that gives up opening and reading after a time."""

    class Timed(kind):  # type: ignore[misc]
        def connect(self, url: str, **options: Any) -> None:
            super().connect(url, **{"timeout": _TIMEOUT, **options})

    return Timed


def _retries() -> Any:
    """Return what is tried again: a connection, and never a request that has no answer in time.

    Without that the client asks four times, each with the whole time.
    """
    from urllib3 import Retry  # noqa: PLC0415

    return Retry(total=3, read=0)


class Missing(NotReady):
    """The API server has no such object."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent of a node. ``pod`` is empty on a node without one; ``why`` says what is wrong."""

    node: str
    pod: str = ""
    ready: bool = False
    why: str = ""


@dataclass(slots=True)
class Ran:
    """How a program in a container ended."""

    stdout: bytes = b""
    stderr: bytes = b""
    code: int = 0

    @property
    def error(self) -> str:
        """Return the last line that it wrote to standard error, as the reason of a failure."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return (lines[-1] if lines else f"ended with code {self.code}").removeprefix("Error: ")


@dataclass(slots=True)
class Access:
    """A cluster by a kubeconfig. ``namespace`` is that of ovnlet.

    ``here`` is the namespace of the kubeconfig's context.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = NAMESPACE
    here: str = "default"
    _configuration: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Read the kubeconfig; in a pod without one, take its service account.

        Raise ClickException if neither can be read.
        """
        config = _library().config
        self._configuration = _library().client.Configuration()
        self._configuration.retries = _retries()
        try:
            config.load_config(
                config_file=str(self.kubeconfig) if self.kubeconfig else None,
                context=self.context,
                client_configuration=self._configuration,
            )
            self.here = self._context_namespace()
        except config.ConfigException as error:
            raise click.ClickException(f"no cluster: {error}") from error
        # Whatever library renews a token raises its own errors, and the client reads any YAML.
        except Exception as error:
            raise click.ClickException(f"no cluster: {unusable(error)}") from error

    def _context_namespace(self) -> str:
        config = _library().config
        try:
            contexts, current = config.list_kube_config_contexts(
                str(self.kubeconfig) if self.kubeconfig else None
            )
        except config.ConfigException:  # in a pod
            return "default"
        named = [each for each in contexts if each["name"] == self.context]
        chosen = named[0] if named else current
        return str(chosen["context"].get("namespace") or "default")

    def _client(self) -> Any:
        return _library().client.ApiClient(self._configuration)

    def read(self, api: str, call: str, *names: str, **query: str) -> Any:
        """Return what a call of the official client gives, as JSON has it.

        ``api`` is a class of the client, such as CoreV1Api. Raise Missing if the object does not
        exist, and NotReady if there is no other answer.
        """
        try:
            return json.loads(self._data(api, call, *names, **query))
        except ValueError as error:
            raise NotReady(f"the API server: {error}") from error

    def log(self, pod: str, lines: int) -> str:
        """Return the end of the log of a pod of ovnlet. Raise NotReady if there is none."""
        data = self._data(
            "CoreV1Api", "read_namespaced_pod_log", pod, self.namespace, tail_lines=lines
        )
        return data.decode(errors="replace")

    def _data(self, api: str, call: str, *names: str, **query: Any) -> bytes:
        library = _library().client
        method = getattr(getattr(library, api)(self._client()), call)
        try:
            answer = method(*names, **query, _preload_content=False, _request_timeout=_TIMEOUT)
            return bytes(answer.data)
        except library.ApiException as error:
            kind = Missing if error.status == HTTPStatus.NOT_FOUND else NotReady
            raise kind(f"the API server: {reason(error)}") from error
        except broken() as error:
            where = self._configuration.host
            raise NotReady(f"the API server at {where}: {words(error)}") from error

    def pods(self, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        """Return the pods of a namespace, or of all, that the labels select."""
        call, names = (
            ("list_namespaced_pod", [namespace])
            if namespace
            else ("list_pod_for_all_namespaces", [])
        )
        found = self.read("CoreV1Api", call, *names, label_selector=selector)
        return list(found["items"])

    def run(
        self, agent: Agent, words: Sequence[str], *, into: IO[bytes] | None = None, timeout: float
    ) -> Ran:
        """Run a program in an agent's container and return how it ended.

        Write its output to ``into`` if that is given. Raise NotReady if it cannot be started, does
        not end in ``timeout`` seconds, or the connection breaks.
        """
        ran, until = Ran(), time.monotonic() + timeout

        def take(channel: int, data: bytes) -> None:
            if channel == _STDERR:
                ran.stderr += data
            elif into is not None:
                into.write(data)
            else:
                ran.stdout += data

        with as_not_ready():
            socket = self._started(agent, words)
            try:
                while socket.is_open():
                    _drain(socket, take)
                    if time.monotonic() > until:
                        raise NotReady(f"no answer in {timeout:.0f} s")
                _drain(socket, take)
                ran.code = _code(socket)
            finally:
                socket.close()
        return ran

    def lines(self, agent: Agent, words: Sequence[str]) -> Iterator[str]:
        """Yield the lines of a program in an agent's container as it writes them.

        Raise NotReady if it cannot be started, ends with an error, or the connection breaks.
        """
        ran, rest = Ran(), b""
        with as_not_ready():
            socket = self._started(agent, words)
            try:
                while socket.is_open():
                    socket.update(timeout=_LOOK)
                    *whole, rest = (rest + _read(socket, _STDOUT)).split(b"\n")
                    ran.stderr += _read(socket, _STDERR)
                    yield from (line.decode(errors="replace") for line in whole)
                ran.code = _code(socket)
            finally:
                socket.close()
        if ran.code:
            raise NotReady(ran.error)

    def _started(self, agent: Agent, words: Sequence[str]) -> Any:
        if not agent.pod:
            raise NotReady(agent.why)
        api = _library().client.CoreV1Api(self._client())
        return _library().stream.stream(
            api.connect_get_namespaced_pod_exec,
            agent.pod,
            self.namespace,
            container=CONTAINER,
            command=list(words),
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
            _request_timeout=_TIMEOUT,
        )


def _drain(socket: Any, take: Callable[[int, bytes], None]) -> None:
    """Wait a second at most for output, and pass on what is there."""
    socket.update(timeout=_LOOK)
    for channel in (_STDOUT, _STDERR):
        if data := _read(socket, channel):
            take(channel, data)


def _read(socket: Any, channel: int) -> bytes:
    """Return what has been received on a channel, without waiting."""
    return bytes(socket.read_channel(channel, timeout=0) or b"")


def _code(socket: Any) -> int:
    """Return the exit code. Raise NotReady if the connection ended without one.

    The last message is a Status of the API: a success, or a failure with the cause `ExitCode`.
    """
    text = _read(socket, _END)
    if not text:
        raise NotReady("the connection ended before the program")
    status = json.loads(text)
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    for cause in causes:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise NotReady(str(status.get("message", "cannot be started")))
