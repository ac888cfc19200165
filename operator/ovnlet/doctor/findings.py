"""The findings of the doctor: all is well, a note, or a fault with its fix."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``fix`` is what a person should do, empty only if there is nothing to do."""

    area: str
    level: Level
    what: str
    fix: str = ""


def ok(area: str, what: str) -> Finding:
    """Return a finding that something works."""
    return Finding(area, "ok", what)


def note(area: str, what: str, fix: str = "") -> Finding:
    """Return a finding that is worth knowing and no fault."""
    return Finding(area, "note", what, fix)


def fault(area: str, what: str, fix: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(area, "fault", what, fix)
