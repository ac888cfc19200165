"""The client of the exec agent."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.bed import Bed
from testbed.service import BedError
from testbed.space import Inside

CODE = {"PYTHONPATH": str(Path(__file__).parents[2])}


@dataclass
class ExecClient:
    """The process in the node's space, spoken to by lines of JSON."""

    process: Inside
    errors: Path

    @classmethod
    def start(cls, bed: Bed, evidence: Path) -> ExecClient:
        errors = evidence / "exec-agent.log"
        evidence.mkdir(parents=True, exist_ok=True)
        with errors.open("a") as file:
            process = bed.node().popen(
                [sys.executable, "-m", "proofs.drift.exec_agent"], env=CODE, stderr=file.fileno()
            )
        client = cls(process, errors)
        client._read_answer()
        return client

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"verb": verb, **request}) + "\n")
        self.process.stdin.flush()
        return self._read_answer()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)

    def _read_answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BedError(f"the exec agent ended: {self.errors.read_text()[-2000:]}")
        return dict(json.loads(line))
