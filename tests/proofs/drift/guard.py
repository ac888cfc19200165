"""Keep a run going: a row that cannot be carried out counts as failed, and the environment is
restored.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drift.environment import Environment
from proofs.drift.faults import FaultClass
from proofs.drift.report import Report, Row
from testbed import progress
from testbed.service import BedError

_FAILURES = (BedError, OSError, ValueError, LookupError, AssertionError, subprocess.SubprocessError)


@contextmanager
def recording_failures(
    env: Environment, report: Report, kind: str, klass: FaultClass | None = None, seed: int = 0
) -> Iterator[None]:
    """Turn an error of the block into a failed row, or into a failed proof if there is no class.

    Mark this part of the run as done in either case.
    """
    try:
        yield
    except _FAILURES as error:
        why = f"{type(error).__name__}: {error}"[:600]
        progress.say(f"    {kind}: {why}")
        report.dump("failures", kind=kind, why=why)
        if klass:
            report.add(
                Row(
                    kind,
                    klass,
                    seed,
                    None,
                    None,
                    repaired=False,
                    traffic_ok=False,
                    sentinels_ok=False,
                )
            )
        else:
            report.prove(kind, False, why[:200])
        try:
            env.recover()
        except _FAILURES as error:  # what comes next fails too, and is recorded
            progress.say(f"    not recovered: {error}"[:600])
    report.mark_done(kind, seed)
