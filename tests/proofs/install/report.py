"""The steps of a run, each with its time, its result and its evidence, as a list in JSON."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kit.report import write_rows
from testbed import progress


@dataclass(slots=True)
class Step:
    """One step. The fields are the columns of the file."""

    step: str
    seconds: float = 0.0
    ok: bool = False
    evidence: list[str] = field(default_factory=list)

    def record(self, *lines: str) -> None:
        """Add lines of evidence."""
        self.evidence += lines


class Report:
    """The steps so far, written after each one, so that an interrupted run shows how far it
    came.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time the block as a step.

        If it raises, the step is not ok, and the error ends the run.
        """
        step, began = Step(name), time.monotonic()
        self._steps.append(step)
        try:
            yield step
            step.ok = True
        except Exception as error:
            step.record(f"{type(error).__name__}: {error}")
            raise
        finally:
            step.seconds = round(time.monotonic() - began, 2)
            write_rows(self._name, self._steps)
            result, evidence = "ok " if step.ok else "BAD", "; ".join(step.evidence)[:300]
            progress.say(f"  {result} {step.seconds:6.1f} s  {name}: {evidence}")
