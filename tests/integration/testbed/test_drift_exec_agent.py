"""The exec agent of the drift table goes on after a request that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofs.drift.exec_client import CODE, ExecClient
from testbed.service import BedError
from testbed.space import Inside

HERE: list[str] = [sys.executable, "-m", "proofs.drift.exec_agent"]


class _Process(Inside):
    """The exec agent in the test's own namespaces: signals go to the program itself."""

    def send_signal(self, sig: int) -> None:
        subprocess.Popen.send_signal(self, sig)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ExecClient]:
    pipe, errors = subprocess.PIPE, tmp_path / "errors"
    with errors.open("w") as file:
        process = _Process(
            HERE, env=os.environ | CODE, stdin=pipe, stdout=pipe, stderr=file, text=True
        )
    found = ExecClient(process, errors)
    assert found._read_answer() == {"ready": True}
    yield found
    found.close()


def test_a_request_that_fails_ends_no_run(client: ExecClient) -> None:
    """Its traceback is raised here, and the next request is answered.

    The floor after conf.db was wiped has no bridge to change.
    """
    with pytest.raises(BedError, match=r"failed: Traceback(.|\n)*floor\.py"):
        client.ask("floor", bridge="none", rounds=0)
    (exit_,) = client.ask("tools", tools=[["echo", "on"]])["exits"]
    assert (exit_["status"], exit_["said"]) == (0, "on")
