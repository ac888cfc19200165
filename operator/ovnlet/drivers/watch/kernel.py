"""The kernel's notifications as hints: which attachment to look at, never what is true.

One socket on the node receives those of every pod's namespace (NETLINK_LISTEN_ALL_NSID). Each
datagram carries the id of its namespace, or none for the node's own. The kernel reports no change
of a sysctl; the resync finds these.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from ovnlet.core.errors import UnknownSandbox
from ovnlet.drivers.links import veths
from ovnlet.drivers.links.routes import BY_KERNEL
from ovnlet.drivers.linux.namespaces import opened
from ovnlet.drivers.linux.rtnetlink import (
    DELADDR,
    DELLINK,
    DELROUTE,
    NEWADDR,
    NEWLINK,
    NEWROUTE,
    get_nsid,
    nsid,
)
from ovnlet.drivers.linux.transport import Garbled, Socket, attributes, messages
from ovnlet.drivers.watch import sockets
from ovnlet.reconcile.budget import Bucket
from ovnlet.reconcile.scope import Key

# Datagrams of one batch, batches a second without a pause, and the pause of a storm in seconds.
# With these, 10,000 notifications a second cost 3 to 4 % of a core.
_DATAGRAMS, _READS, _PAUSE = 400, 200, 0.01
_LOST_EVERY = 5.0
_IFNAME = 3
_SCOPE_LINK, _REPLACE = 253, 0x100
_Entry = TypeVar("_Entry")
_TRAFFIC_CONTROL = range(36, 48)
_INSIDE = frozenset({NEWADDR, DELADDR, NEWROUTE, DELROUTE})
_OIF = 4


@dataclass(frozen=True, slots=True)
class _Followed:
    """What is followed of a key: a link of the node, a namespace, a table of nftables.

    ``index`` is 0 where the link is missing, ``namespace`` -1 where the namespace has no id.
    """

    link: str
    index: int
    namespace: int
    table: str


class Watch:
    """Calls ``changed(key)`` for a change, and ``lost()`` where notifications were dropped.

    A storm is read in batches with pauses, so that a pod that changes its own network in a loop
    costs a few per cent of a core. What the kernel drops meanwhile (ENOBUFS) makes one ``lost()``
    in five seconds.
    """

    def __init__(self, changed: Callable[[Key], None], lost: Callable[[], None]) -> None:
        self._changed, self._report_lost = changed, lost
        self._by_namespace: dict[int, set[Key]] = {}
        self._by_index: dict[int, Key] = {}
        self._by_name: dict[str, Key] = {}
        self._by_table: dict[str, Key] = {}
        self._followed: dict[Key, _Followed] = {}
        self._reads, self._losses = Bucket(_READS, 1 / _READS), Bucket(1, _LOST_EVERY)
        self._lost_later: asyncio.TimerHandle | None = None
        self._paused: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._tables: socket.socket | None = None
        self._broken: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled, whether ``start`` was called before or not.

        Raise what reading or following up a notification raised. Another call listens again, and
        begins with ``lost()``. Raise NodeFault as ``start`` does.
        """
        if self._socket is None:
            self.start()
            self._report_lost()
        self._broken = asyncio.get_running_loop().create_future()
        try:
            await self._broken
        finally:
            self._broken = None
            self.close()

    def start(self) -> None:
        """Begin to listen. Raise NodeFault without the capability for other namespaces."""
        self._socket, self._tables = sockets.of_links(), sockets.of_tables()
        self._add_reader(self._socket, self._read)
        if self._tables is not None:
            self._add_reader(self._tables, self._read_tables)

    def close(self) -> None:
        """Stop listening."""
        for timer in (self._paused, self._lost_later):
            if timer is not None:
                timer.cancel()
        for listener in (self._socket, self._tables):
            if listener is not None:
                asyncio.get_running_loop().remove_reader(listener)
                listener.close()
        self._socket = self._tables = self._paused = self._lost_later = None

    def follow(self, key: Key, link: str, *, netns: str = "", table: str = "") -> None:
        """Follow a link of the node, the namespace at a path and a table for this key, no more."""
        self.forget(key)
        index, namespace = 0, -1
        with Socket() as host:
            if (end := veths.named(host, link)) is not None:
                index = end.index
                self._by_index[index] = key
            with suppress(UnknownSandbox), opened(netns) as descriptor:
                (answer,) = host.ask(get_nsid(descriptor))
                # A namespace that no link of the node has a peer in has no id yet: -1.
                if answer.error is None and (namespace := nsid(answer.replies[0])) >= 0:
                    self._by_namespace.setdefault(namespace, set()).add(key)
        self._by_name[link] = key
        if table:
            self._by_table[table] = key
        self._followed[key] = _Followed(link, index, namespace, table)

    def follows(self, key: Key) -> bool:
        """Return whether anything of this key is followed."""
        return key in self._followed

    def forget(self, key: Key) -> None:
        """Follow nothing of this key."""
        if (followed := self._followed.pop(key, None)) is None:
            return
        _drop(self._by_name, followed.link, key)
        _drop(self._by_index, followed.index, key)
        _drop(self._by_table, followed.table, key)
        if (keys := self._by_namespace.get(followed.namespace)) is not None:
            keys.discard(key)
            if not keys:
                del self._by_namespace[followed.namespace]

    def _add_reader(self, listener: socket.socket, read: Callable[[], None]) -> None:
        """Have it read when it is readable. What that raises ends ``run``, and all reading."""

        def guarded() -> None:
            try:
                read()
            except Exception as error:
                if self._broken is None or self._broken.done():
                    raise
                self.close()
                self._broken.set_exception(error)

        asyncio.get_running_loop().add_reader(listener, guarded)

    def _read(self) -> None:
        """Read a bounded number of datagrams, then pause if this happens too often."""
        assert self._socket is not None  # noqa: S101 - the reader is removed before the socket is
        touched: set[Key] = set()
        for _ in range(_DATAGRAMS):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(1 << 16, 64)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost()
                continue
            namespace = sockets.namespace(ancillary)
            if namespace is None or not self._by_namespace.get(namespace, touched) <= touched:
                touched.update(self._keys(data, namespace))
        for key in touched:
            self._changed(key)
        now = asyncio.get_running_loop().time()
        if self._reads.wait(now):
            self._pause()
        else:
            self._reads.spend(now)

    def _pause(self) -> None:
        """Stop reading for 10 ms. The kernel queues meanwhile, and drops what does not fit."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)  # type: ignore[arg-type]  # it is open: this is its reader
        self._paused = loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        self._paused = None
        assert self._socket is not None  # noqa: S101 - the timer is cancelled before it is closed
        self._add_reader(self._socket, self._read)

    def _lost(self) -> None:
        """Report a loss now, or five seconds after the last report."""
        loop = asyncio.get_running_loop()
        if self._lost_later is not None:
            return
        if wait := self._losses.wait(loop.time()):
            self._lost_later = loop.call_later(wait, self._lost_at_last)
        else:
            self._losses.spend(loop.time())
            self._report_lost()

    def _lost_at_last(self) -> None:
        self._lost_later = None
        self._losses.spend(asyncio.get_running_loop().time())
        self._report_lost()

    def _read_tables(self) -> None:
        """Hint the keys of the tables of nftables that changed; all after a loss."""
        assert self._tables is not None  # noqa: S101 - the reader is removed before the socket is
        changed: set[str] = set()
        for _ in range(_DATAGRAMS):
            try:
                changed |= _tables_of(self._tables.recv(1 << 16))
            except BlockingIOError:
                break
            except (OSError, Garbled):
                changed |= self._by_table.keys()
        for table in changed & self._by_table.keys():
            self._changed(self._by_table[table])

    def _keys(self, data: bytes, namespace: int | None) -> Iterator[Key]:
        """Yield the keys that a datagram concerns. ``namespace`` is None for the node's own."""
        try:
            for kind, flags, _, body in messages(data):
                if namespace is not None:
                    if not _is_the_kernels(kind, flags, body):
                        yield from self._by_namespace.get(namespace, ())
                elif key := self._of_link(kind, body) or self._of_address(kind, flags, body):
                    yield key
        except (Garbled, struct.error):
            self._lost()

    def _of_address(self, kind: int, flags: int, body: bytes) -> Key | None:
        """Return the key that follows the link of the node that an address or a route is on."""
        if kind not in _INSIDE or _is_the_kernels(kind, flags, body):
            return None
        if kind in (NEWADDR, DELADDR):
            (index,) = struct.unpack_from("=I", body, 4)
        else:
            index = int.from_bytes(attributes(body, 12).get(_OIF, b""), "little")
        return self._by_index.get(index)

    def _of_link(self, kind: int, body: bytes) -> Key | None:
        """Return the key that follows a link of the node, by index; by name if it is a new one."""
        if kind not in (NEWLINK, DELLINK) and kind not in _TRAFFIC_CONTROL:
            return None
        (index,) = struct.unpack_from("=i", body, 4)
        if index in self._by_index or kind not in (NEWLINK, DELLINK):
            return self._by_index.get(index)
        name = attributes(body, 16).get(_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        return self._by_name.get(name)


def _is_the_kernels(kind: int, flags: int, body: bytes) -> bool:
    """Return whether the kernel made the address or the route by itself.

    These are link-local addresses (duplicate address detection ends a second after every ADD) and
    routes of protocol `kernel`. They are not ours and replace nothing of ours. A notification with
    NLM_F_REPLACE is always a hint.
    """
    if kind in (NEWADDR, DELADDR):
        return body[3] == _SCOPE_LINK
    return kind in (NEWROUTE, DELROUTE) and body[5] == BY_KERNEL and not flags & _REPLACE


def _tables_of(data: bytes) -> set[str]:
    """Return the tables of nftables that changed.

    The first attribute of each object names its table, and that of a table the table itself.
    """
    names = (attributes(body, 4).get(1, b"").rstrip(b"\0") for _, _, _, body in messages(data))
    return {name.decode(errors="replace") for name in names}


def _drop(table: dict[_Entry, Key], entry: _Entry, key: Key) -> None:
    """Remove an entry unless it is another key's: the kernel reuses an index or an id."""
    if table.get(entry) == key:
        del table[entry]
