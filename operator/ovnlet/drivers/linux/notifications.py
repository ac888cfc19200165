"""Sockets for the kernel's notifications: a filter in the kernel, and reading many at once.

A program in a pod's namespace may change its own network 200,000 times a second. One recvmmsg(2)
takes hundreds of notifications for half a microsecond each; a recvmsg(2) of Python takes ten times
as long for one.
"""

import ctypes
import errno
import os
import socket
import struct
import sys

from ovnlet.drivers.linux.rtnetlink import DELADDR, DELROUTE, NEWADDR, NEWROUTE

_SO_ATTACH_FILTER = 26
_SCOPE_LINK, _BY_KERNEL, _REPLACE_HIGH = 253, 2, 0x01
# Classic BPF: load a byte at an offset, compare, test bits, return the length to keep.
_LOAD, _EQUAL, _BITS, _RETURN = 0x30, 0x15, 0x45, 0x06
# Bytes of a notification: the low one of its type, the high one of its flags, and after the header
# of 16 the scope of an address and the protocol of a route.
_TYPE, _FLAGS = (4, 7) if sys.byteorder == "little" else (5, 6)
_ADDRESS_SCOPE, _ROUTE_PROTOCOL = 16 + 3, 16 + 5
_FILTER = (
    (_LOAD, 0, 0, _TYPE),
    (_EQUAL, 3, 0, NEWADDR),
    (_EQUAL, 2, 0, DELADDR),
    (_EQUAL, 3, 0, NEWROUTE),
    (_EQUAL, 2, 6, DELROUTE),
    (_LOAD, 0, 0, _ADDRESS_SCOPE),
    (_EQUAL, 5, 4, _SCOPE_LINK),
    (_LOAD, 0, 0, _ROUTE_PROTOCOL),
    (_EQUAL, 0, 2, _BY_KERNEL),
    (_LOAD, 0, 0, _FLAGS),
    (_BITS, 0, 1, _REPLACE_HIGH),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)
_MSG_DONTWAIT = 0x40
_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """``struct msghdr``."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (("header", _Header), ("received", ctypes.c_uint))


def drop_the_kernels_own(listener: socket.socket) -> None:
    """Have the kernel drop notifications of what it made by itself.

    These are link-local addresses (duplicate address detection ends a second after every ADD) and
    routes of protocol `kernel`. They are not ours and replace nothing of ours. A notification with
    NLM_F_REPLACE always arrives. Raise OSError where the kernel refuses.
    """
    code = b"".join(struct.pack("=HBBI", *each) for each in _FILTER)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(_FILTER), ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


class Namespaces:
    """Reads of which namespaces a socket's notifications are, up to ``many`` at once."""

    # Only the beginning of a notification is copied.
    _TAKEN = 16

    def __init__(self, listener: socket.socket, many: int) -> None:
        self._listener, self._many = listener, many
        slot = socket.CMSG_SPACE(4)
        self._data = ctypes.create_string_buffer(self._TAKEN)
        self._control = ctypes.create_string_buffer(slot * many)
        self._vector = _Vector(ctypes.addressof(self._data), self._TAKEN)
        self._messages = (_Message * many)()
        for number, message in enumerate(self._messages):
            header = message.header
            header.vectors, header.vector_count = ctypes.addressof(self._vector), 1
            header.control = ctypes.addressof(self._control) + number * slot
            header.control_length = slot
        self._fresh, self._used = bytes(self._messages), many
        self._ids = memoryview(self._control).cast("B").cast("i")
        self._first, self._step = socket.CMSG_LEN(0) // 4, slot // 4

    def read(self) -> list[int]:
        """Return the id of each notification's namespace, -1 for the socket's own; it may be empty.

        Raise OSError, with ENOBUFS where the kernel has dropped some.
        """
        ctypes.memmove(self._messages, self._fresh, self._used * ctypes.sizeof(_Message))
        ctypes.memset(self._control, 0xFF, self._used * self._step * 4)
        got = _libc.recvmmsg(
            self._listener.fileno(), self._messages, self._many, _MSG_DONTWAIT, None
        )
        self._used = max(got, 0)
        if got >= 0:
            return self._ids[self._first : got * self._step : self._step].tolist()
        if (number := ctypes.get_errno()) == errno.EAGAIN:
            return []
        raise OSError(number, os.strerror(number))
