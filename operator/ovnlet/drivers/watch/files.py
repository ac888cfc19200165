"""Changes of files in a few directories (inotify) as hints: which directory to look at."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from asyncinotify import Inotify, Mask

_CHANGED = (
    Mask.CREATE
    | Mask.CLOSE_WRITE
    | Mask.ATTRIB
    | Mask.MOVE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
)
# Seconds between two tries to watch a missing directory.
_RETRY_INTERVAL = 0.5


class FileWatch:
    """Calls ``changed(directory)`` when something in one of the directories changes."""

    def __init__(self, directories: Iterable[str], changed: Callable[[str], None]) -> None:
        self._directories, self._changed = tuple(directories), changed

    async def run(self) -> None:
        """Watch every directory until cancelled, also after it was missing or replaced."""
        async with asyncio.TaskGroup() as tasks:
            for directory in self._directories:
                tasks.create_task(self._watch(directory))

    async def _watch(self, directory: str) -> None:
        while True:
            with suppress(OSError):
                await self._until_gone(directory)
            self._changed(directory)
            await asyncio.sleep(_RETRY_INTERVAL)

    async def _until_gone(self, directory: str) -> None:
        """Report changes until the directory is deleted or moved. Raise OSError without one."""
        with Inotify() as inotify:
            inotify.add_watch(Path(directory), _CHANGED)
            self._changed(directory)
            async for event in inotify:
                self._changed(directory)
                if event.mask & (Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED):
                    return
