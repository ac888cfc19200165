"""A row that cannot be carried out is a row that failed: it is told, and the run goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from proofs.drift.environment import Environment
from proofs.drift.faults import FaultClass
from proofs.drift.report import Report, Row
from testbed import progress
from testbed.service import BedError

_TROUBLE = (BedError, OSError, ValueError, LookupError, AssertionError, subprocess.SubprocessError)


@contextmanager
def recording_failures(
    env: Environment, report: Report, kind: str, klass: FaultClass | None = None, seed: int = 0
) -> Iterator[None]:
    """Without a class it is no row, but a proof, that failed. Done it is in any case."""
    try:
        yield
    except _TROUBLE as error:
        why = f"{type(error).__name__}: {error}"[:600]
        progress.say(f"    {kind}: {why}")
        report.dump("trouble", kind=kind, why=why)
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
        except _TROUBLE as error:  # what comes next will tell
            progress.say(f"    not recovered: {error}"[:600])
    report.mark_done(kind, seed)
