"""What systemd would run for a unit, composed from its files: no systemd runs in a test bed.

Of systemd.unit(5) and systemd.service(5) what these units use: drop-ins after the unit, lines
continued by a backslash, `Environment`, `EnvironmentFile`, `$WORD` as one word, `$$`.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Where a package has its units.
PACKAGED = Path("/usr/lib/systemd/system")
_STARTS = ("ExecStartPre", "ExecStart")


@dataclass(frozen=True, slots=True)
class Command:
    """One command line; with ``may_fail`` its exit code does not count."""

    words: list[str]
    may_fail: bool


@dataclass(slots=True)
class Unit:
    """The start of a service, with its environment."""

    env: dict[str, str] = field(default_factory=dict)
    settings: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, directory: Path) -> "Unit":
        """Read a packaged unit, with the drop-ins of that name in the directory."""
        unit = cls()
        drop_ins = sorted((directory / f"{name}.d").glob("*.conf"))
        for path in (PACKAGED / name, *drop_ins):
            unit.settings += _settings(path.read_text())
        for key, value in unit.settings:
            if key == "Environment":
                unit.env |= _assignments(value)
            elif key == "EnvironmentFile" and (file := Path(value.removeprefix("-"))).exists():
                lines = (line.strip() for line in file.read_text().splitlines())
                for line in lines:
                    unit.env |= _assignments(line) if line and line[0] not in "#;" else {}
        return unit

    def starts(self) -> Iterator[Command]:
        """Yield what starts the service, in order."""
        for wanted in _STARTS:
            for key, value in self.settings:
                if key == wanted:
                    words = shlex.split(value.removeprefix("-"))
                    filled = [word for each in words for word in _filled(each, self.env)]
                    yield Command(filled, may_fail=value.startswith("-"))


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of the section Service."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    section = ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line.strip()):
            section = found[1]
        elif section == "Service" and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _assignments(text: str) -> dict[str, str]:
    pairs = (each.partition("=") for each in shlex.split(text))
    return {name: value for name, equals, value in pairs if equals}


def _filled(word: str, env: Mapping[str, str]) -> list[str]:
    if found := re.fullmatch(r"\$(\w+)", word):
        return env.get(found[1], "").split()
    return [word.replace("$$", "$")]
