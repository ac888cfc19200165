"""`ovnlet doctor`: prints the findings as a table, JSON or YAML."""

import asyncio
from dataclasses import asdict

from ovnlet.cli.output import FAULTY, dumped, rows
from ovnlet.cli.progress import progress
from ovnlet.core.settings import Settings
from ovnlet.doctor.examination import examine
from ovnlet.doctor.second_opinion import examine as compare

_STYLES = {"fault": "bold red", "note": "yellow", "ok": "green"}


def report(settings: Settings, output: str, *, second_opinion: bool) -> int:
    """Examine the node, print the findings, and return the exit code.

    With ``second_opinion`` only compare the agent with libraries that are not ours.

    The code is 3 if there is a fault, 0 otherwise. On a terminal faults are red.
    """
    with progress("looking") as update:
        asked = compare(settings) if second_opinion else examine(settings, update)
        findings = asyncio.run(asked)
    if not dumped([asdict(finding) for finding in findings], output):
        cells = [(each.level, each.area, each.what, each.fix) for each in findings]
        rows(("", "area", "finding", "fix"), cells, style=lambda level: _STYLES[level])
    return FAULTY if any(each.level == "fault" for each in findings) else 0
