"""The agent's parts that look at the node, on dependencies in memory, for fault injection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asyncinotify import Mask

from kit.injection import Injection
from ovnlet.drivers.ovs.forwarding import Forwarding
from ovnlet.drivers.ovs.health import Health
from ovnlet.drivers.ovsdb import jsonrpc
from ovnlet.drivers.ovsdb.replica import Replica
from ovnlet.drivers.watch import files, kernel, sockets

Patch = pytest.MonkeyPatch


class HealthChecks:
    """The checks of OVSDB, ovs-vswitchd and ovn-controller."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.checks = 0
        ovs = SimpleNamespace(health=injection.wrap(lambda: None))
        patch.setattr("ovnlet.drivers.ovsdb.unixctl.part_health", injection.wrap(self._parts))
        self.run = Health(cast("Any", ovs), Path("/"), Path("/")).run

    async def _parts(self, *_: Path) -> list[str]:
        self.checks += 1
        return []

    def poke(self) -> None:
        """Nothing: it checks by itself."""

    def works(self) -> int:
        """Return the number of checks."""
        return self.checks


class FlowChecks:
    """The looks at the bridge's flows."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.looks = 0
        patch.setattr("ovnlet.drivers.ovs.openflow.look", injection.wrap(self._look))
        self.run = Forwarding("br-int", Path("/"), Path("/"), installed=lambda: 0).run

    async def _look(self, _: Path) -> Any:
        self.looks += 1
        return SimpleNamespace(flows={}, ports={}, tables={})

    def poke(self) -> None:
        """Nothing: it looks by itself."""

    def works(self) -> int:
        """Return the number of looks."""
        return self.looks


class Peer:
    """An OVSDB session in memory, which ends after a second."""

    def __init__(self, injection: Injection) -> None:
        self.closed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.call = injection.wrap(self._call)
        asyncio.get_running_loop().call_later(1, self._end)

    async def _call(self, method: str, _: Any) -> Any:
        schema = {"version": "1", "tables": {"T": {"columns": {"name": {"type": "string"}}}}}
        return schema if method == "get_schema" else {}

    def _end(self) -> None:
        if not self.closed.done():
            self.closed.set_result(jsonrpc.Disconnected("ended"))

    def drop(self) -> None:
        """End at once."""
        self._end()


class Ovsdb:
    """The replica of the local database."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.reloads, self._injection = 0, injection
        patch.setattr(jsonrpc, "connect", injection.wrap(self._connect))
        reloaded = injection.wrap(self._reloaded)
        tables = {"T": ("name",)}
        self.replica = Replica("x", "D", tables, changed=lambda _: None, reloaded=reloaded)
        self.run = self.replica.run

    async def _connect(self, *_: Any) -> Peer:
        return Peer(self._injection)

    def _reloaded(self) -> None:
        self.reloads += 1

    def poke(self) -> None:
        """Nothing: sessions end by themselves."""

    def works(self) -> int:
        """Return the number of sessions that were loaded."""
        return self.reloads


class KernelWatch:
    """The reader of the kernel's notifications, on a socket of the test's own."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.reports = 0
        self._theirs: socket.socket | None = None
        self._silent: socket.socket | None = None
        patch.setattr(sockets, "of_links", injection.wrap(self._open))
        patch.setattr(sockets, "of_tables", lambda: None)
        patch.setattr(kernel, "_LOST_EVERY", 0.001)
        watch = kernel.Watch(lambda _: None, injection.wrap(self._lost))
        self.run = watch.run

    def _open(self, *, everywhere: bool) -> socket.socket:
        """Return the socket of the node's notifications, or that of the pods', which is silent."""
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if everywhere:
            self._silent = theirs
        else:
            self._theirs = theirs
        return ours

    def _lost(self) -> None:
        self.reports += 1

    def poke(self) -> None:
        """Send what is no notification: it counts as a loss."""
        if self._theirs is not None:
            try:
                self._theirs.send(b"garbage")
            except OSError:
                self._theirs = None

    def works(self) -> int:
        """Return the number of losses that were reported."""
        return self.reports


class FileNotifications:
    """The watch of the runtime's directories."""

    def __init__(self, injection: Injection, patch: Patch) -> None:
        self.hints = 0
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._add = injection.wrap(lambda *_: None)
        patch.setattr(files, "Inotify", injection.wrap(self._inotify))
        self.run = files.FileWatch(["/etc/cni/net.d"], injection.wrap(self._changed)).run

    @contextmanager
    def _inotify(self) -> Iterator[Any]:
        yield self

    def add_watch(self, *_: Any) -> None:
        """Watch a directory."""
        self._add()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield what the test has put."""
        while True:
            yield await self._events.get()

    def _changed(self, _: str) -> None:
        self.hints += 1

    def poke(self) -> None:
        """Change a file."""
        self._events.put_nowait(SimpleNamespace(mask=Mask.CREATE))

    def works(self) -> int:
        """Return the number of hints."""
        return self.hints
