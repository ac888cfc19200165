"""The steps of a run, each with its time, its verdict and what was seen: a list in JSON."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kit.report import write_rows
from testbed import progress


@dataclass(slots=True)
class Step:
    step: str
    seconds: float = 0.0
    ok: bool = False
    evidence: list[str] = field(default_factory=list)

    def record(self, *lines: str) -> None:
        self.evidence += lines


class Report:
    """Written after each step: a run that is cut short tells how far it came."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """One that raises is not ok, and ends the run."""
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
            progress.say(
                f"  {'ok ' if step.ok else 'BAD'} {step.seconds:6.1f} s  {name}: {'; '.join(step.evidence)[:300]}"
            )
