"""The kernel's notifications, turned into hints: which attachment to look at, never what is true.

One socket on the node hears every pod's namespace (NETLINK_LISTEN_ALL_NSID): each datagram carries the id of the
namespace it is of, or none for the node's own. Silent in the kernel, and left to the resync: sysctls.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from ovnlet.core import ids
from ovnlet.core.errors import NodeFault, UnknownSandbox
from ovnlet.core.identity import NODE_NIC, Attachment, AttachmentKey
from ovnlet.core.resources.nftables import TABLE
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
from ovnlet.drivers.linux.transport import NETFILTER, Garbled, Socket, attributes, messages

# Link, traffic control, addresses and routes of IPv4 and IPv6 (RTNLGRP_*).
_GROUPS = sum(1 << (group - 1) for group in (1, 4, 5, 7, 9, 11))
_TABLES = 1 << 6  # NFNLGRP_NFTABLES
_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_SO_RCVBUFFORCE = 33
# 208 KiB, the default, hold 184 link events: one burst of pods. 8 MiB hold more than 6,000.
_BUFFER = 8 << 20
_DATAGRAMS = 200
_IFNAME = 3
_SCOPE_LINK, _REPLACE = 253, 0x100
_Entry = TypeVar("_Entry")
_TRAFFIC_CONTROL = range(36, 48)
_INSIDE = frozenset({NEWADDR, DELADDR, NEWROUTE, DELROUTE})
_OIF = 4


class Watch:
    """``changed(key)`` for an attachment it was told to follow, ``lost()`` where the kernel dropped notifications."""

    def __init__(self, changed: Callable[[AttachmentKey], None], lost: Callable[[], None]) -> None:
        self._changed, self._lost = changed, lost
        self._pods: dict[int, set[AttachmentKey]] = {}
        self._indices: dict[int, AttachmentKey] = {}
        self._names: dict[str, AttachmentKey] = {}
        self._known: dict[AttachmentKey, tuple[str, int, int]] = {}
        self._socket: socket.socket | None = None
        self._tables: socket.socket | None = None

    def start(self) -> None:
        """Raises NodeFault without the right to hear other namespaces."""
        listener = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            listener.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
            listener.bind((0, _GROUPS))
        except OSError as error:
            listener.close()
            needed = "the agent needs CAP_NET_ADMIN and CAP_NET_BROADCAST"
            raise NodeFault(
                f"cannot hear the pods' namespaces: {error.strerror}; {needed}"
            ) from error
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener, self._read)
        with suppress(OSError):  # a kernel without nf_tables
            self._tables = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETFILTER
            )
            self._tables.bind((0, _TABLES))
            asyncio.get_running_loop().add_reader(self._tables, self._read_tables)

    def close(self) -> None:
        for heard in (self._socket, self._tables):
            if heard is not None:
                asyncio.get_running_loop().remove_reader(heard)
                heard.close()
        self._socket = self._tables = None

    def follow(self, attachment: Attachment) -> None:
        """From now on, tell of what happens to this attachment's namespace and to the node's end of its pair."""
        key = attachment.key
        self.forget(key)
        name, index, pod = ids.host_link(*key), 0, -1
        with Socket() as host:
            if (end := veths.named(host, name)) is not None:
                index = end.index
                self._indices[index] = key
            # The node's own interface has no namespace to follow: its addresses and routes are told by its index.
            with suppress(UnknownSandbox), opened(attachment.netns) as netns:
                (answer,) = host.ask(get_nsid(netns))
                # A namespace that no link of the node's leads to has no id yet: -1.
                if answer.error is None and (pod := nsid(answer.replies[0])) >= 0:
                    self._pods.setdefault(pod, set()).add(key)
        self._names[name] = key
        self._known[key] = (name, index, pod)

    def follows(self, key: AttachmentKey) -> bool:
        return key in self._known

    def forget(self, key: AttachmentKey) -> None:
        name, index, pod = self._known.pop(key, ("", 0, -1))
        _drop(self._names, name, key)
        _drop(self._indices, index, key)
        if pod in self._pods:
            self._pods[pod].discard(key)
            if not self._pods[pod]:
                del self._pods[pod]

    def _read(self) -> None:
        """A bounded number of datagrams a turn: a storm of notifications must not hold up the loop."""
        assert self._socket is not None  # noqa: S101 - the reader is removed before the socket is
        touched: set[AttachmentKey] = set()
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
            touched.update(self._keys(data, _namespace(ancillary)))
        for key in touched:
            self._changed(key)

    def _read_tables(self) -> None:
        """Whoever changed our table of nftables, and whatever in it; what was dropped may have been of it."""
        assert self._tables is not None  # noqa: S101 - the reader is removed before the socket is
        touched = False
        for _ in range(_DATAGRAMS):
            try:
                touched |= _is_of_our_table(self._tables.recv(1 << 16))
            except BlockingIOError:
                break
            except (OSError, Garbled):
                touched = True
        if touched and NODE_NIC in self._known:
            self._changed(NODE_NIC)

    def _keys(self, data: bytes, namespace: int | None) -> Iterator[AttachmentKey]:
        if namespace is not None and namespace not in self._pods:
            return
        try:
            for kind, flags, _, body in messages(data):
                if namespace is not None:
                    if not _is_the_kernels(kind, flags, body):
                        yield from self._pods[namespace]
                elif key := self._of_link(kind, body) or self._of_node(kind, flags, body):
                    yield key
        except (Garbled, struct.error):
            self._lost()

    def _of_node(self, kind: int, flags: int, body: bytes) -> AttachmentKey | None:
        """Of addresses and routes of the node, those by its own interface."""
        _, index, _ = self._known.get(NODE_NIC, ("", 0, -1))
        if not index or kind not in _INSIDE or _is_the_kernels(kind, flags, body):
            return None
        if kind in (NEWADDR, DELADDR):
            (link,) = struct.unpack_from("=I", body, 4)
        else:
            link = int.from_bytes(attributes(body, 12).get(_OIF, b""), "little")
        return NODE_NIC if link == index else None

    def _of_link(self, kind: int, body: bytes) -> AttachmentKey | None:
        if kind not in (NEWLINK, DELLINK) and kind not in _TRAFFIC_CONTROL:
            return None
        (index,) = struct.unpack_from("=i", body, 4)
        if index in self._indices or kind not in (NEWLINK, DELLINK):
            return self._indices.get(index)
        name = attributes(body, 16).get(_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        return self._names.get(name)


def _is_the_kernels(kind: int, flags: int, body: bytes) -> bool:
    """Addresses of a link's own (duplicate address detection ends a second after every ADD) and routes it made itself.

    They are none of ours, and come in nobody's place; what replaces something is a hint whoever made it.
    """
    if kind in (NEWADDR, DELADDR):
        return body[3] == _SCOPE_LINK
    return kind in (NEWROUTE, DELROUTE) and body[5] == BY_KERNEL and not flags & _REPLACE


def _is_of_our_table(data: bytes) -> bool:
    """The first attribute names the table itself, or the one that a chain, a rule or a set is in."""
    return any(
        attributes(body, 4).get(1, b"").rstrip(b"\0") == TABLE.encode()
        for _, _, _, body in messages(data)
    )


def _drop(table: dict[_Entry, AttachmentKey], entry: _Entry, key: AttachmentKey) -> None:
    """An index or an id that the kernel handed on is another's by now."""
    if table.get(entry) == key:
        del table[entry]


def _namespace(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID):
            return int.from_bytes(data[:4], "little", signed=True)
    return None
