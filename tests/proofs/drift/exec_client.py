"""The client of the exec agent, which exchanges lines of JSON with it."""

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
    """A running exec agent, and the file that gets its stderr."""

    process: Inside
    errors: Path

    @classmethod
    def start(cls, bed: Bed, evidence: Path) -> ExecClient:
        """Start the exec agent on the bed's node.

        Return when it is ready; raise BedError if it ends.
        """
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
        """Send a request and return the answer, however long it takes.

        Raise BedError with the traceback if the request failed, or if the process ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"verb": verb, **request}) + "\n")
        self.process.stdin.flush()
        return self._read_answer()

    def close(self) -> None:
        """Terminate the process, and wait up to 10 s for its end."""
        self.process.terminate()
        self.process.wait(timeout=10)

    def _read_answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BedError(f"the exec agent ended: {self.errors.read_text()[-2000:]}")
        answer = dict(json.loads(line))
        if "error" in answer:
            raise BedError(f"the exec agent failed: {answer['error'][-2000:]}")
        return answer
