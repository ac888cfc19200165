"""Deletions that the plugin noted down while no agent ran: small files that the agent reads, acts on and removes.

A note is `<directory of the socket>/deleted/<container id>.<interface>` and holds `<container id> <interface>`.
Both may contain dots, so the name alone does not tell them apart.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

MAX_NOTES = 4096
MAX_SIZE = 256
_LINE = re.compile(rb"([a-zA-Z0-9][a-zA-Z0-9_.\-]{0,199}) ([^\s/:]{1,15})\n")
_DRAFT_LIVES = 60.0


@dataclass(frozen=True, slots=True)
class Note:
    container_id: str
    ifname: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found: the notes, and the names of files that are none (torn, foreign), to be reported."""

    notes: tuple[Note, ...] = ()
    skipped: tuple[str, ...] = ()


class PendingDeletes:
    """The directory of notes; it need not exist."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def beside(cls, socket_path: Path) -> "PendingDeletes":
        """The notes that the plugin leaves for the agent of this socket."""
        return cls(socket_path.parent / "deleted")

    def read(self) -> Listing:
        """All notes, at most MAX_NOTES of them; a file that is no note is skipped, and stays."""
        notes, skipped = [], []
        for name in islice(self._names(), MAX_NOTES):
            note = self._note(name)
            if note is not None:
                notes.append(note)
            elif not self._is_draft(name):
                skipped.append(name)
        return Listing(tuple(sorted(notes, key=str)), tuple(sorted(skipped)))

    def remove(self, container_id: str, ifname: str) -> None:
        """The deletion is done, or overtaken by a new ADD."""
        (self._directory / f"{container_id}.{ifname}").unlink(missing_ok=True)

    def _names(self) -> Iterator[str]:
        try:
            with os.scandir(self._directory) as entries:
                yield from (entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return

    def _note(self, name: str) -> Note | None:
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
        return Note(found[1].decode(), os.fsdecode(found[2]))

    def _is_draft(self, name: str) -> bool:
        """A plugin's file before its rename. One that a dead plugin left is cleared away."""
        if not name.startswith("."):
            return False
        path = self._directory / name
        try:
            if time.time() - path.stat(follow_symlinks=False).st_mtime > _DRAFT_LIVES:
                path.unlink()
        except OSError:
            return True
        return True
