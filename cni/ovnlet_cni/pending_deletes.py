"""Deletions that the plugin recorded while no agent was running.

The agent reads, performs and removes them. Each is a file `<directory of the
socket>/deleted/<container id>.<interface>` with the content `<container id> <interface>`: both can
contain dots, so the name alone is ambiguous.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

MAX_PENDING = 4096
MAX_SIZE = 256  # bytes
_LINE = re.compile(rb"([a-zA-Z0-9][a-zA-Z0-9_.\-]{0,199}) ([^\s/:]{1,15})\n")
_DRAFT_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class PendingDelete:
    """A DEL that the plugin has confirmed and the agent has yet to perform."""

    container_id: str
    ifname: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The pending deletes found, and the names of other files, which the caller should report."""

    deletes: tuple[PendingDelete, ...] = ()
    skipped: tuple[str, ...] = ()


class PendingDeletes:
    """The directory of pending deletes. It need not exist."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def beside(cls, socket_path: Path) -> "PendingDeletes":
        """Return the pending deletes that the plugin leaves for the agent of this socket."""
        return cls(socket_path.parent / "deleted")

    def read(self) -> Listing:
        """Return the pending deletes, at most MAX_PENDING.

        Any other file, such as a torn or foreign one, is skipped and stays.
        """
        deletes, skipped = [], []
        for name in islice(self._names(), MAX_PENDING):
            delete = self._read_file(name)
            if delete is not None:
                deletes.append(delete)
            elif not self._is_draft(name):
                skipped.append(name)
        return Listing(tuple(sorted(deletes, key=str)), tuple(sorted(skipped)))

    def remove(self, container_id: str, ifname: str) -> None:
        """Remove a pending delete: it is done, or obsolete because of a new ADD."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._directory}/{container_id}.{ifname}")

    def _names(self) -> Iterator[str]:
        try:
            with os.scandir(self._directory) as entries:
                yield from (entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return

    def _read_file(self, name: str) -> PendingDelete | None:
        """Return the pending delete in this file, or None if the file is anything else.

        Symlinks are not followed, and the name must match the content.
        """
        try:
            fd = os.open(
                self._directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return None
        try:
            found = _LINE.fullmatch(os.read(fd, MAX_SIZE))
        except OSError:  # a directory
            return None
        finally:
            os.close(fd)
        if found is None or name != os.fsdecode(found[1] + b"." + found[2]):
            return None
        return PendingDelete(found[1].decode(), os.fsdecode(found[2]))

    def _is_draft(self, name: str) -> bool:
        """Return whether it is a plugin's file before its rename.

        Also removes it if it is so old that its plugin must be gone.
        """
        if not name.startswith("."):
            return False
        path = self._directory / name
        try:
            if time.time() - path.stat(follow_symlinks=False).st_mtime > _DRAFT_TIMEOUT:
                path.unlink()
        except OSError:
            return True
        return True
