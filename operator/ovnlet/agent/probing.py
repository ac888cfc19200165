"""kubelet's probes of pods in VPCs of their own: a listener that goes on inside of the pod.

A rule of the gateway's table redirects the node's own connections to such a pod's probed ports.
What kubelet sees is what the pod answers to HTTP and gRPC. A probe by `tcpSocket` sends nothing, so
it succeeds with the listener, as with kube-ovn-cni's.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import Pod, Record
from ovnlet.core.probes import PORT, Probe, probed
from ovnlet.drivers.linux import redirected
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.reconcile.state import State

# Seconds that a probe may last, and bytes that are passed on at once.
_LONGEST, _CHUNK = 60.0, 65536
_HOSTS = ("127.0.0.1", "::1")
log = structlog.get_logger("probing")


class Probing:
    """Answers redirected probes. ``changed`` is called where other ones are to be redirected."""

    def __init__(self, records: Sandboxes, state: State, router: str) -> None:
        self._records, self._state, self._router = records, state, router
        self._now: Mapping[Probe, str] = {}
        self._changed: Callable[[], None] = lambda: None
        state.subscribe(lambda _: self.look())

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after each change of the probes."""
        self._changed = changed

    @property
    def probes(self) -> frozenset[Probe]:
        """The probes that are redirected."""
        return frozenset(self._now)

    async def run(self) -> None:
        """Listen. Returns only when cancelled. Raises OSError if a port is taken."""
        servers = [await asyncio.start_server(self._serve, host, PORT) for host in _HOSTS]
        try:
            await asyncio.Event().wait()
        finally:
            for each in servers:
                each.close()

    def look(self) -> None:
        """Look at pods and records again: call it after each change of a record."""
        before, self._now = self._now, probed(self._attached(), self._router)
        if before.keys() != self._now.keys():
            self._changed()

    def _attached(self) -> Iterator[tuple[Pod, Record]]:
        for record in self._records:
            pod = self._state.get(record.attachment.owner)
            if pod is not None:
                yield pod, record

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on in both directions, or reset a connection that the pod refuses."""
        try:
            async with asyncio.timeout(_LONGEST):
                await self._pass_on(reader, writer)
        except (OSError, OvnletError, TimeoutError) as error:
            log.debug("a probe was not passed on", error=str(error))
            _reset(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        probe = Probe(*redirected.original(writer.get_extra_info("socket")))
        netns = self._now.get(probe)
        if netns is None:
            return _reset(writer)
        inside = await redirected.connected(netns, *probe)
        theirs, ours = await asyncio.open_connection(sock=inside)
        try:
            await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))
        finally:
            ours.close()
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the client sees a refusal, not the end of an empty answer."""
    with suppress(OSError):
        socket = writer.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass on until the end, and then end the other side's stream too."""
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
