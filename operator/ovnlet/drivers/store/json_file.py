"""One small JSON file of texts by name, which survives a restart of the agent."""

import json
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger("json_file")


class JsonFile:
    """A file that is replaced as a whole. One that cannot be read is logged and counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Return the texts; empty where the file is missing or cannot be read."""
        try:
            values = json.loads(self._path.read_text())
            return {str(key): str(value) for key, value in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            log.warning(
                "file cannot be read and is ignored", path=str(self._path), error=str(error)
            )
            return {}

    def write(self, values: Mapping[str, str]) -> None:
        """Replace the file by a rename. Raise OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(dict(values), sort_keys=True))
        fresh.rename(self._path)
