"""Output of tools, as rows that are equal when nothing has changed between two looks.

Counters, lifetimes and timers are left out.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from typing import Any

VOLATILE_FACTS = ("_life_time", "_timer", "expires", "refcnt", "fdb_n_learned")


def output(*argv: str) -> str:
    """Return what a tool prints, empty if it is not installed or has nothing to look at."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def rows(*argv: str) -> list[dict[str, Any]]:
    """Return iproute2's JSON rows without what changes by itself.

    iproute2 prints nothing, or an empty row, where it has nothing to show.
    """
    return [row for row in _steady(json.loads(output(*argv).strip() or "[]")) if row]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _steady(part) for key, part in value.items() if not key.endswith(VOLATILE_FACTS)
        }
    return [_steady(part) for part in value] if isinstance(value, list) else value


def numbered(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a section of things that may have the same name: the second is `name #2`."""
    seen: Counter[str] = Counter()
    section: dict[str, Any] = {}
    for key, value in pairs:
        seen[key] += 1
        section[key if seen[key] == 1 else f"{key} #{seen[key]}"] = value
    return section
