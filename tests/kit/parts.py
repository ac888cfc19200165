"""All parts of the agent on dependencies in memory, each ready for an injection of faults."""

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kit.injection import Injection
from kit.parts_of_kube import ApiWatch, Events, ListOfPods, NodeAnnotation, Prefixes
from kit.parts_of_node import FileNotifications, FlowChecks, HealthChecks, KernelWatch, Ovsdb
from ovnlet.agent.probes import Probes
from ovnlet.agent.startup import Startup
from ovnlet_cni.server import Server

Patch = pytest.MonkeyPatch


class ProbesServer:
    """The HTTP server of probes, without a real port."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.serving = 0
        patch.setattr("aiohttp.web.AppRunner.setup", injection.wrap(self._setup))
        site = SimpleNamespace(start=injection.wrap(self._start))
        patch.setattr("aiohttp.web.TCPSite", lambda *_: site)
        metrics = cast("Any", _no_metrics)
        self.run = Probes("127.0.0.1:1", lambda: None, metrics).run

    async def _setup(self, *_: Any) -> None:
        """Set up nothing."""

    async def _start(self) -> None:
        self.serving += 1

    def poke(self) -> None:
        """Nothing: it serves."""

    def works(self) -> int:
        """Return the number of times that it began to serve."""
        return self.serving


class CniSocket:
    """The check of the CNI socket's file, which somebody removes all the time."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.listens = 0
        patch.setattr("ovnlet_cni.listener.identity", injection.wrap(lambda _: (0, 0)))
        patch.setattr("ovnlet_cni.listener.is_answered", injection.wrap(lambda _: False))
        server = Server(cast("Any", None), Path("/nonexistent/cni.sock"))
        server._listen = injection.wrap(self._listen)  # type: ignore[method-assign]
        self.run = server.keep_listening

    async def _listen(self) -> None:
        self.listens += 1

    def poke(self) -> None:
        """Nothing: it checks by itself."""

    def works(self) -> int:
        """Return the number of times that it listened again."""
        return self.listens


class StartUp:
    """Start-up, then resync every minute; every step is a dependency."""

    def __init__(self, injection: Injection, _: Patch) -> None:
        self.rounds, wrap = 0, injection.wrap

        async def step() -> None:
            await asyncio.sleep(0.01)

        async def swept() -> None:
            self.rounds += 1

        nothing = SimpleNamespace(deletes=(), skipped=())
        stepping: Callable[[], Any] = wrap(step)
        parts = SimpleNamespace(
            listed=stepping,
            settle=stepping,
            round=wrap(swept),
            prepare=stepping,
            read=wrap(lambda: nothing),
            open=wrap(lambda: None),
            every_key=lambda: (),
            passes=lambda _: None,
        )
        self.startup = Startup(
            ovs_ready=stepping,
            state=cast("Any", parts),
            records=cast("Any", []),
            loop=cast("Any", parts),
            attaching=cast("Any", parts),
            sweep=cast("Any", parts),
            cni_files=cast("Any", parts),
            cni_scope=cast("Any", parts),
            pending=cast("Any", parts),
            restores=[wrap(lambda: None)],
            timed=lambda: cast("Any", contextmanager(lambda: iter([None]))()),
        )

    async def run(self) -> None:
        """Run as the wiring does."""
        await self.startup.keep(60, 2)

    def poke(self) -> None:
        """Nothing: it goes on by itself."""

    def works(self) -> int:
        """Return the number of resyncs and of start-ups that came to their sweep."""
        return self.rounds if self.startup.verdict is None else 0


async def _no_metrics(_: Any) -> Any:
    """Serve no metrics."""


# With the number of calls after which each has met all its dependencies.
PARTS: dict[str, tuple[Callable[[Injection, Patch], Any], int]] = {
    "list of pods": (ListOfPods, 4),
    "Events": (Events, 3),
    "Node annotation": (NodeAnnotation, 3),
    "health checks": (HealthChecks, 3),
    "flow checks": (FlowChecks, 2),
    "ovsdb": (Ovsdb, 6),
    "kernel watch": (KernelWatch, 5),
    "file watch": (FileNotifications, 4),
    "probes": (ProbesServer, 2),
    "watch of the API server": (ApiWatch, 4),
    "CNI socket": (CniSocket, 6),
    "prefixes": (Prefixes, 1),
    "start-up and resync": (StartUp, 18),
}
