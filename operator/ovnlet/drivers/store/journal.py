"""Records of moves on disk: they outlast the agent and the node, and are there before a step is."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from ovnlet.core.errors import NodeFault
from ovnlet.core.underlay.record import Record, from_json, to_json

log = structlog.get_logger("journal")


class Journal:
    """One file for each provider network. A write is on the disk when it returns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> Iterator[Record]:
        """Yield the records. Raise NodeFault for one that cannot be read.

        What the NIC had is in no other place, so an unreadable record is never taken for none.
        """
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield from_json(json.loads(path.read_text()))
            except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
                raise NodeFault(f"the record of a move, {path}: {error!r}") from error

    def write(self, record: Record) -> None:
        """Replace a record. Raise NodeFault; the old one is then as it was."""
        path = self._path(record.intent.network)
        draft = path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w") as file:
                json.dump(to_json(record), file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            self._sync()
        except OSError as error:
            raise NodeFault(f"the record of a move cannot be written: {error}") from error

    def remove(self, network: str) -> None:
        """Remove the record of a network. Raise NodeFault."""
        try:
            self._path(network).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise NodeFault(f"the record of a move cannot be removed: {error}") from error

    def _sync(self) -> None:
        """Make renames in the directory last, too."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, network: str) -> Path:
        return self._directory / f"{network}.json"
