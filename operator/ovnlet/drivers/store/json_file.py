"""One small JSON file of texts by name, which survives a restart of the agent."""

import json
from collections.abc import Mapping
from pathlib import Path

import structlog

from ovnlet.drivers.store import atomic

log = structlog.get_logger("json_file")


class JsonFile:
    """A file that is replaced as a whole. One that cannot be read is logged and counts as empty.

    What cannot be written stays in memory, and ``restore`` tries again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wanted: dict[str, str] | None = None

    def read(self) -> dict[str, str]:
        """Return the texts; empty where the file is missing or cannot be read."""
        try:
            return self._read()
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            log.warning(
                "file cannot be read and is ignored", path=str(self._path), error=str(error)
            )
            return {}

    def write(self, values: Mapping[str, str]) -> None:
        """Replace the file. If that fails, log why; the next ``restore`` writes these values."""
        self._wanted = dict(values)
        try:
            atomic.write(self._path, json.dumps(self._wanted, sort_keys=True))
        except OSError as error:
            log.warning("cannot be written yet", path=str(self._path), error=str(error))

    def restore(self) -> None:
        """Write again what could not be written, or what somebody removed or tore."""
        if self._wanted is None:
            return
        try:
            intact = self._read() == self._wanted
        except (OSError, ValueError, AttributeError):
            intact = False
        if not intact:
            self.write(self._wanted)

    def _read(self) -> dict[str, str]:
        values = json.loads(self._path.read_text())
        return {str(key): str(value) for key, value in values.items()}
