"""The tracebacks in a log of the agent, by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_GROUP = re.compile(r"^\s*[|+][-+]* ?")  # how an exception group draws what it holds
_BEGINS = re.compile(r"(Exception Group )?Traceback \(most recent call last\):")
_FRAME = re.compile(r'  File "(?:.*/)?([\w.-]+/[\w.-]+\.py)", line \d+, in (\S+)')
_OURS = re.compile(r'  File "(?:.*/)?(ovnlet\w*/[\w/]+\.py)", line \d+, in (\S+)')
_ERROR = re.compile(r"([A-Za-z_][\w.]*)(:|$)")

# What a soak has found and a test provokes on purpose: a pattern of the traceback's name, and the
# test that has it, as FILE::NAME under tests/.
KNOWN = {
    r"/socket\.py accept: OSError$": (
        "unit/test_descriptors.py"
        "::test_a_call_waits_for_a_descriptor_and_the_log_has_one_line_of_it_a_second"
    ),
}


def tracebacks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each traceback, as in `file.py function: Error`, and its text.

    The file is the last one of ovnlet among the frames, or else the last one.
    """
    lines: list[str] | None = None
    ours = last = ""
    for line in text.splitlines():
        bare = _GROUP.sub("", line)
        if _BEGINS.match(bare):
            lines, ours, last = [], "", ""
        if lines is None:
            continue
        lines.append(line)
        if found := _OURS.match(bare):
            ours = f"{found[1]} {found[2]}"
        elif found := _FRAME.match(bare):
            last = f"{found[1]} {found[2]}"
        elif not _BEGINS.match(bare) and (error := _ERROR.match(bare)):
            yield f"{ours or last}: {error[1]}", "\n".join(lines)
            lines = None


def unknown(text: str) -> Counter[str]:
    """Return how often each traceback occurs that no test is known to provoke."""
    return Counter(
        name
        for name, _ in tracebacks(text)
        if not any(re.search(pattern, name) for pattern in KNOWN)
    )
