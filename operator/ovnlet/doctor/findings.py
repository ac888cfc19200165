"""What the doctor says: a finding is well, worth knowing, or a fault with its fix."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``fix`` is what a person does about it; empty only where nothing is to be done."""

    area: str
    level: Level
    what: str
    fix: str = ""


def ok(area: str, what: str) -> Finding:
    return Finding(area, "ok", what)


def note(area: str, what: str, fix: str = "") -> Finding:
    return Finding(area, "note", what, fix)


def fault(area: str, what: str, fix: str) -> Finding:
    return Finding(area, "fault", what, fix)
