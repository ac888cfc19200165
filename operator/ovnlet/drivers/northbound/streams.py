"""The connections below the Idl: TLS, host names, and the reason of the last failure.

The `ovs` library opens, probes and reopens them. It keeps the names of the key files for the whole
process, and so does this module.
"""

import errno
import logging
import os
import socket
import ssl
from typing import Any

from ovs.stream import SSLStream, Stream, TCPStream
from ovsdbapp.backend.ovs_idl import vlog

from ovnlet.core.errors import NotReady
from ovnlet.core.settings import ControllerSettings

# The library's lines about an attempt that is under way; every other line has a reason.
_PROGRESS = ("connecting...", "connected", "waiting ", "continuing to ", "entering ")
# How the library spells the error number of a failure whose reason is kept in words already.
_SPOKEN = os.strerror(errno.EPROTO)


class _Reason(logging.Handler):
    """Keeps why the last attempt to connect failed, from the library's own log lines."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line if it has a reason (logging calls this)."""
        text = record.getMessage()
        if not any(f": {word}" in text for word in _PROGRESS) and _SPOKEN not in text:
            self.last = text


_REASON = _Reason()


def reason() -> str:
    """Return why the last attempt of this process to connect failed, "" before the first one."""
    return _REASON.last


def note(text: str, error: int | None = None) -> None:
    """Keep a reason, with the words of an error number."""
    if error is None:
        _REASON.last = text
    elif error != errno.EPROTO:
        _REASON.last = f"{text}: {os.strerror(error)}"


def prepare(settings: ControllerSettings) -> None:
    """Give the library the names of the key files, and take its log lines.

    A file is read at each connection, so the next one after a rotation uses the new keys. Raise
    NotReady if a remote is `ssl:` and a setting is missing.
    """
    vlog.use_python_logger(max_level=vlog.INFO)
    logger = logging.getLogger(vlog.__name__)
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [_REASON], False
    if "ssl:" in settings.ovn_nb:
        if not (settings.ovn_key and settings.ovn_cert and settings.ovn_ca):
            raise NotReady("ovn_nb is ssl: and needs ovn_key, ovn_cert and ovn_ca")
        Stream.ssl_set_private_key_file(str(settings.ovn_key))
        Stream.ssl_set_certificate_file(str(settings.ovn_cert))
        Stream.ssl_set_ca_cert_file(str(settings.ovn_ca))


def _numeric(remote: str) -> str:
    """Return `HOST:PORT` with an address for the host.

    The library resolves names only with libunbound. This waits for the resolver, so call it in the
    Idl's thread. Raise OSError if there is no address.
    """
    host, _, port = remote.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a name with an empty label, or with one that is too long
        raise OSError(f"{host}: {error}") from error
    address = found[0][4][0]
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


class _NamedStream(TCPStream):  # type: ignore[misc]
    """`tcp:` to an address or a host name."""

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, Any]:
        try:
            return tuple(TCPStream._open(_numeric(suffix), dscp))
        except OSError as error:
            return _failed(error), None


class _TlsStream(SSLStream):  # type: ignore[misc]
    """`ssl:` to an address or a host name.

    The library trusts a server by the CA alone, as OVN's own clients do: OVN's certificates do not
    contain host names. It returns an error number for what OpenSSL says in words.
    """

    @staticmethod
    def _open(suffix: str, dscp: int) -> tuple[int, Any]:
        try:
            return tuple(SSLStream._open(_numeric(suffix), dscp))
        except OSError as error:  # ssl.SSLError is one too
            return _failed(error), None

    def connect(self) -> int:
        """Continue the handshake. Return 0 when it is complete, EAGAIN while it is under way."""
        error = int(Stream.connect(self))
        if error:
            return error
        try:
            self.socket.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return errno.EAGAIN
        except OSError as fault:
            return _failed(fault)
        return 0

    def recv(self, n: int) -> tuple[int, Any]:
        """Return an error number and up to ``n`` bytes.

        With TLS 1.3 the server's refusal of a certificate arrives here, after the handshake.
        """
        try:
            return tuple(self._recv(n))
        except ssl.SSLWantReadError:
            return errno.EAGAIN, ""
        except ssl.SSLZeroReturnError:
            return 0, ""
        except OSError as fault:
            return _failed(fault), ""


def _failed(error: OSError) -> int:
    """Keep the reason and return an error number for the library."""
    note(f"the connection failed: {error}")
    return errno.EPROTO


Stream.register_method("tcp", _NamedStream)
Stream.register_method("ssl", _TlsStream)
