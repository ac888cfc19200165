"""`python -m testbed.stream [--terminal] PORT`: exchange stdin and stdout with a program on a port.

Standard library only. With `--terminal` they are a terminal, whose keys go to the program as they
are. It tries to connect until the program listens, for at most two minutes, and ends when the
program closes the connection.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

from testbed import terminal

CHUNK, TIMEOUT = 1 << 16, 120.0


def connect(port: int) -> tuple[socket.socket, bytes]:
    """Return a connection over which the program has sent its first bytes, and these.

    QEMU accepts a connection before anything listens in the virtual machine, and closes it then.
    """
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        try:
            server = socket.create_connection(("127.0.0.1", port))
            if first := server.recv(CHUNK):
                return server, first
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"nothing answers on port {port} within {TIMEOUT:g} s")


def main() -> None:
    server, data = connect(int(sys.argv[-1]))
    if "--terminal" in sys.argv:
        terminal.attach(server, data)
        return
    threading.Thread(target=_send, args=(server,), daemon=True).start()
    while data:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        data = server.recv(CHUNK)


def _send(server: socket.socket) -> None:
    while data := os.read(sys.stdin.fileno(), CHUNK):
        server.sendall(data)
    server.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
