"""`python -m proofs.tools`: installation to bundle on two nodes, then each verb on 200 nodes.

Written to build/tools.json. Names of parts, such as `traced` or `many`, choose some. `--slice`:
what `make test` runs. `--chart`: the Helm chart, build/chart.json. `--record`: the slice, and
before it the recording for the unit tests.
"""

import os
import sys
from collections.abc import Sequence

from proofs.drift.carrying import heed_signals
from proofs.tools import archives, chart, faults, many, record, stage, verbs
from proofs.tools.operator import Part
from proofs.tools.report import Report
from testbed.bed import Bed

PARTS: Sequence[Part] = (
    *(verbs.shown, verbs.typed, verbs.followed, verbs.planned, verbs.examined),
    *(archives.collected, verbs.lean, verbs.compared),
    *(faults.traced, archives.hung, verbs.rights_used),
)


def main() -> None:
    """Run everything on a bed of its own, after removing one that a killed run left."""
    heed_signals()
    name = os.environ.get("OVNLET_TOOLS_BED", "tools")
    if Bed.is_alive(name):
        Bed.attach(name).down()
    flags = {word for word in sys.argv[1:] if word.startswith("-")}
    if "--chart" in flags:
        chart.run(name)
        return
    names = set(sys.argv[1:]) - flags
    parts = [part for part in PARTS if not names or part.__name__ in names]
    report = Report(2)
    if flags & {"--slice", "--record"}:
        parts = list(stage.SLICE)
    if parts:
        two_nodes(name, report, parts, recorded="--record" in flags)
    if not names or "many" in names:
        with stage.apiserver(name) as bed, report.apart():
            many.run(bed, report, many.FEW if "--slice" in flags else many.NODES)
    if report.failed:
        raise SystemExit(f"not ok: {'; '.join(report.failed)}")


def two_nodes(name: str, report: Report, parts: Sequence[Part], *, recorded: bool) -> None:
    """Install on two nodes and run the rows of some parts, each whether or not others fail."""
    with stage.installed(name, report) as ask:
        if recorded:
            record.run(ask)
        pods = stage.pods(ask)
        for part in parts:
            with report.apart():
                part(ask, report, pods)


if __name__ == "__main__":
    main()
