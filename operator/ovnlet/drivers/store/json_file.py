"""A few words that survive a restart of the agent: one small JSON file of texts by name."""

import json
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger("memory")


class JsonFile:
    """Replaced as a whole. What cannot be read is told of and taken for nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        try:
            values = json.loads(self._path.read_text())
            return {str(key): str(value) for key, value in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            log.warning("what is remembered cannot be read", path=str(self._path), error=str(error))
            return {}

    def write(self, values: Mapping[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(dict(values), sort_keys=True))
        fresh.rename(self._path)
