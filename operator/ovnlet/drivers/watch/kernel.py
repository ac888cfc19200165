"""The kernel's notifications as hints: which attachment to look at, never what is true.

One socket on the node receives those of its own namespace, another one those of every pod's
(NETLINK_LISTEN_ALL_NSID), so that a pod that makes too many loses none of the node's. The kernel
reports no change of a sysctl; the resync finds these.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from ovnlet.core.errors import UnknownSandbox
from ovnlet.drivers.linux import ifreq
from ovnlet.drivers.linux.namespaces import opened
from ovnlet.drivers.linux.nft_messages import tables_of
from ovnlet.drivers.linux.notifications import Namespaces
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
from ovnlet.drivers.watch.paced import PacedReader
from ovnlet.reconcile.budget import Bucket
from ovnlet.reconcile.scope import Key

# Notifications of one read: 200,000 a second at most are read in a storm of the pods.
_DATAGRAMS = 256
_LOST_EVERY = 5.0
_IFNAME = 3
_Entry = TypeVar("_Entry")
_TRAFFIC_CONTROL = range(36, 48)
_POLICY_RULES, _HOST_TABLES = (32, 33), (253, 254, 255)
_OIF = 4


@dataclass(frozen=True, slots=True)
class _Followed:
    """What is followed of a key: links of the node, by name and index, and a namespace.

    An index is 0 where the link is missing, ``namespace`` -1 where the namespace has no id.
    ``alone`` is whether the links concern no other key, as those of a pod.
    """

    links: tuple[tuple[str, int], ...]
    namespace: int
    alone: bool


class Watch:
    """Calls ``changed(key)`` for a change, and ``lost()`` where notifications were dropped.

    A storm of the pods is read in batches at intervals, so that a pod that changes its own network
    in a loop costs a few per cent of a core. What the kernel drops (ENOBUFS) makes one ``lost()``
    in five seconds.
    """

    def __init__(self, changed: Callable[[Key], None], lost: Callable[[], None]) -> None:
        self._changed, self._report_lost = changed, lost
        self._by_namespace: dict[int, set[Key]] = {}
        self._by_index: dict[int, Key] = {}
        self._by_name: dict[str, Key] = {}
        self._gateway: Key | None = None
        self._followed_tables: frozenset[str] = frozenset()
        self._of_addresses: set[Key] = set()
        self._followed: dict[Key, _Followed] = {}
        self._losses = Bucket(1, _LOST_EVERY)
        self._lost_later: asyncio.TimerHandle | None = None
        self._node: socket.socket | None = None
        self._pods: socket.socket | None = None
        self._paced: PacedReader | None = None
        self._tables: socket.socket | None = None
        self._broken: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled, whether ``start`` was called before or not.

        Raise what reading or following up a notification raised. Another call listens again, and
        begins with ``lost()``. Raise NodeFault as ``start`` does.
        """
        is_new = self._node is None
        if is_new:
            self.start()
        self._broken = asyncio.get_running_loop().create_future()
        try:
            if is_new:
                self._report_lost()
            await self._broken
        finally:
            self._broken = None
            self.close()

    def start(self) -> None:
        """Begin to listen, on all sockets or on none.

        Raise NodeFault without the capability for other namespaces.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._node = sockets.of_links(everywhere=False)
        self._pods = sockets.of_links(everywhere=True)
        self._tables = sockets.of_tables()
        self._namespaces = Namespaces(self._pods, _DATAGRAMS)
        self._paced = PacedReader(self._pods, self._read_pods, self._add_reader)
        self._add_reader(self._node.fileno(), self._read_node)
        if self._tables is not None:
            self._add_reader(self._tables.fileno(), self._read_tables)

    def close(self) -> None:
        """Stop listening."""
        if self._lost_later is not None:
            self._lost_later.cancel()
        if self._paced is not None:
            self._paced.close()
        for listener in (self._node, self._pods, self._tables):
            if listener is not None:
                asyncio.get_running_loop().remove_reader(listener)
                listener.close()
        self._node = self._pods = self._tables = self._paced = self._lost_later = None

    def follow(self, key: Key, *links: str, netns: str = "") -> None:
        """Follow links of the node and the namespace at a path for this key, no more."""
        self.forget(key)
        namespace = -1
        with Socket() as host:
            found = tuple((link, ifreq.index(host, link)) for link in links)
            with suppress(UnknownSandbox), opened(netns) as descriptor:
                (answer,) = host.ask(get_nsid(descriptor))
                # A namespace that no link of the node has a peer in has no id yet: -1.
                if answer.error is None and (namespace := nsid(answer.replies[0])) >= 0:
                    self._by_namespace.setdefault(namespace, set()).add(key)
        for link, index in found:
            self._by_name[link] = key
            if index:
                self._by_index[index] = key
        self._followed[key] = _Followed(found, namespace, bool(netns))

    def follow_addresses(self, key: Key) -> None:
        """Follow the addresses of all links of the node that are not a pod's, for this key too."""
        self._of_addresses.add(key)

    def follow_tables(self, key: Key, tables: frozenset[str]) -> None:
        """Follow these tables of nftables, and policy routing, for this key; only one can."""
        self._gateway, self._followed_tables = key, tables

    def follows(self, key: Key) -> bool:
        """Return whether anything of this key is followed."""
        return key in self._followed

    def forget(self, key: Key) -> None:
        """Follow nothing of this key."""
        if (followed := self._followed.pop(key, None)) is None:
            return
        for link, index in followed.links:
            _drop(self._by_name, link, key)
            _drop(self._by_index, index, key)
        self._of_addresses.discard(key)
        if (keys := self._by_namespace.get(followed.namespace)) is not None:
            keys.discard(key)
            if not keys:
                del self._by_namespace[followed.namespace]

    def _add_reader(self, listener: int, read: Callable[[], None]) -> None:
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

    def _read_pods(self) -> bool:
        """Hint the keys of the namespaces that a batch is of; return whether there was any."""
        try:
            found = self._namespaces.read()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._lost()
            return True
        for key in {key for each in set(found) for key in self._by_namespace.get(each, ())}:
            self._changed(key)
        return bool(found)

    def _read_node(self) -> None:
        """Hint the keys that a batch of notifications of the node's own is about."""
        assert self._node is not None  # noqa: S101 - the reader is removed before the socket is
        touched: set[Key] = set()
        for _ in range(_DATAGRAMS):
            try:
                touched.update(self._keys(self._node.recv(1 << 16)))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost()
        for key in touched:
            self._changed(key)

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
        """Hint the key of the tables of nftables if one changed, or after a loss."""
        assert self._tables is not None  # noqa: S101 - the reader is removed before the socket is
        changed: set[str] = set()
        for _ in range(_DATAGRAMS):
            try:
                changed |= tables_of(self._tables.recv(1 << 16))
            except BlockingIOError:
                break
            except (OSError, Garbled):
                changed |= self._followed_tables
        if self._gateway is not None and changed & self._followed_tables:
            self._changed(self._gateway)

    def _keys(self, data: bytes) -> Iterator[Key]:
        """Yield the keys that a datagram of the node's own namespace concerns."""
        try:
            for kind, _, _, body in messages(data):
                if kind in (NEWADDR, DELADDR):
                    yield from self._by_address(body)
                elif key := self._of_link(kind, body) or self._of_route(kind, body):
                    yield key
        except (Garbled, struct.error):
            self._lost()

    def _by_address(self, body: bytes) -> Collection[Key]:
        """Return the keys that an address concerns: of a pod's link its own, else those of all."""
        (index,) = struct.unpack_from("=I", body, 4)
        key = self._by_index.get(index)
        if key is None:
            return self._of_addresses
        return (key,) if self._followed[key].alone else {key, *self._of_addresses}

    def _of_route(self, kind: int, body: bytes) -> Key | None:
        """Return the key that follows the link that a route is by, or the gateway's.

        Its are rules, and routes in no table of the host's own.
        """
        if kind in (NEWROUTE, DELROUTE):
            index = int.from_bytes(attributes(body, 12, _OIF).get(_OIF, b""), "little")
            followed = self._by_index.get(index)
            return followed or (self._gateway if body[4] not in _HOST_TABLES else None)
        return self._gateway if kind in _POLICY_RULES else None

    def _of_link(self, kind: int, body: bytes) -> Key | None:
        """Return the key that follows a link of the node, by index; by name if it is a new one."""
        if kind not in (NEWLINK, DELLINK) and kind not in _TRAFFIC_CONTROL:
            return None
        (index,) = struct.unpack_from("=i", body, 4)
        if index in self._by_index or kind not in (NEWLINK, DELLINK):
            return self._by_index.get(index)
        name = attributes(body, 16, _IFNAME).get(_IFNAME, b"").rstrip(b"\0")
        return self._by_name.get(name.decode(errors="replace"))


def _drop(table: dict[_Entry, Key], entry: _Entry, key: Key) -> None:
    """Remove an entry unless it is another key's: the kernel reuses an index or an id."""
    if table.get(entry) == key:
        del table[entry]
