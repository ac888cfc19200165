"""SCTP associations by the kernel's own sockets, as programs that run in a pod."""

from __future__ import annotations

import collections
import json
import selectors
import socket
import sys

# One association at a time; the kernel sends INIT again after 3 s.
LIMIT = 10.0


def serve(name: str, port: int) -> None:
    """Answer each association with the name and the address of the peer. Never return."""
    found = selectors.DefaultSelector()
    for family in (socket.AF_INET, socket.AF_INET6):
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("", port))
        listener.listen(64)
        found.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in found.select():
            assert isinstance(key.fileobj, socket.socket)
            link, peer = key.fileobj.accept()
            with link:
                link.recv(64)
                link.sendall(f"{name} {peer[0]}".encode())


def ask(host: str, port: int, count: int) -> dict[str, int]:
    """Return what so many associations in a row were answered, or what they failed with."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    seen: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        try:
            with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as link:
                link.settimeout(LIMIT)
                link.connect((host, port))
                link.sendall(b"who")
                seen[link.recv(64).decode() or "error: nothing"] += 1
        except OSError as error:
            seen[f"error: {type(error).__name__}"] += 1
    return dict(seen)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    print(json.dumps(ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
