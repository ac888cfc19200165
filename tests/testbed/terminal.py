"""A shell of a virtual machine on the terminal of the machine.

`python -m testbed.terminal PORT` inside serves one client with a shell on a terminal of its own;
`attach` outside makes this process's terminal that client's. Standard library only.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import socket
import sys
import termios
import tty
from collections.abc import Callable

CHUNK = 1 << 16


def serve(port: int) -> None:
    """Serve the first client with a shell, until either ends."""
    with socket.create_server(("", port)) as server:
        client, _ = server.accept()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "--norc", "-i"])  # noqa: S606 - becomes the shell
    _pump(client.fileno(), client.sendall, terminal, lambda data: _write(terminal, data))


def attach(server: socket.socket, first: bytes) -> None:
    """Exchange the terminal's keys and text with the server until it closes the connection."""
    inside = sys.stdin.fileno()
    _write(sys.stdout.fileno(), first)
    size = shutil.get_terminal_size()
    server.sendall(f"stty rows {size.lines} cols {size.columns}\n".encode())
    before = termios.tcgetattr(inside) if os.isatty(inside) else None
    try:
        if before:
            tty.setraw(inside)
        _pump(
            inside, lambda data: _write(sys.stdout.fileno(), data), server.fileno(), server.sendall
        )
    finally:
        if before:
            termios.tcsetattr(inside, termios.TCSADRAIN, before)


def _pump(
    one: int, to_one: Callable[[bytes], None], other: int, to_other: Callable[[bytes], None]
) -> None:
    """Copy what each of the two has to the other, until the second ends."""
    sources = [one, other]
    while True:
        ready, _, _ = select.select(sources, [], [])
        for source in ready:
            data = _read(source)
            if data:
                (to_other if source == one else to_one)(data)
            elif source == other:
                return
            else:
                sources.remove(one)


def _read(descriptor: int) -> bytes:
    """Return what can be read, or nothing at the end. A terminal whose shell ended is an error."""
    try:
        return os.read(descriptor, CHUNK)
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    serve(int(sys.argv[1]))
