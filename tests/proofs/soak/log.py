"""The agent's log, kept beyond the end of its containers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from testbed.space import Space

LOGS = "ovnlet-system_ovnlet-*/agent/*.log"
EVERY = 0.5


class Log:
    """A copy of the agent's log in a file, which a thread keeps up to date."""

    def __init__(self, node: Space, copy: Path) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        self._root, self._copy = node.path("/var/log/pods"), copy
        self._read: dict[int, int] = {}  # bytes, by inode: a file that is rotated keeps its own
        self._stopped = Event()
        self._thread = Thread(target=self._follow, name="log")
        self._thread.start()

    def stop(self) -> None:
        """Read what is there, and end."""
        self._stopped.set()
        self._thread.join(timeout=30)

    def text(self) -> str:
        """Return everything so far, without the runtime's prefix of each line."""
        return self._copy.read_text() if self._copy.exists() else ""

    def _follow(self) -> None:
        last = False
        while not last:
            last = self._stopped.wait(EVERY)
            for path in sorted(self._root.glob(LOGS)):
                with suppress(OSError):  # it is removed meanwhile
                    self._append(path)

    def _append(self, path: Path) -> None:
        with path.open("rb") as file, self._copy.open("ab") as copy:
            inode = path.stat().st_ino
            file.seek(self._read.get(inode, 0))
            whole = file.read().rpartition(b"\n")[0].splitlines(keepends=True)
            if whole:
                self._read[inode] = self._read.get(inode, 0) + sum(map(len, whole)) + 1
                lines = [line.rstrip(b"\n").split(b" ", 3)[-1] + b"\n" for line in whole]
                copy.writelines(lines)
