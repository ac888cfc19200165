"""The commands as processes: what a terminal gets, and what a pipe does not."""

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kit.api_server import ApiServer, write_kubeconfig

ESCAPE = b"\x1b["
DOCTOR = ("doctor", "-o", "json")
PLUGIN = [sys.executable, "-c", "from ovnlet.cluster.commands import kubectl; kubectl()"]
COMPLETE = "from ovnlet.cluster.commands import kubectl_complete; kubectl_complete()"


@pytest.fixture
def line(world: ApiServer, tmp_path: Path) -> list[str]:
    """Return the words of `doctor --all` of a cluster with a fault."""
    fault = {"level": "fault", "area": "CNI", "what": "wrong", "fix": "mend"}
    world.say([fault], "n0", *DOCTOR, code=3)
    world.say([fault], "n1", *DOCTOR, code=3)
    config = write_kubeconfig(tmp_path / "config", world.url)
    return [*PLUGIN, "doctor", "--all", "--kubeconfig", str(config)]


def on_a_terminal(words: Sequence[str], **env: str) -> bytes:
    """Return what a process writes to its standard output, a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        text = b""
        try:
            while data := os.read(ours, 4096):
                text += data
        except OSError:  # the other side is closed
            pass
        assert process.wait(60) == 3
    os.close(ours)
    return text


def test_a_terminal_gets_a_table_with_colours_and_progress(line: list[str]) -> None:
    text = on_a_terminal(line)
    assert ESCAPE + b"1;31m" in text
    assert b"finding" in text
    assert b"examining nodes" in text
    assert b"2/2" in text


def test_a_pipe_gets_neither(line: list[str]) -> None:
    env = {**os.environ, "TERM": "xterm-256color"}
    done = subprocess.run(line, capture_output=True, env=env, timeout=120, check=False)
    assert done.stdout == b"fault\tCNI\twrong\tmend\tn0 n1\n"
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["st"], ["status"]),
        (["pods", "-o", ""], ["table", "wide", "json", "yaml", "jsonpath="]),
        (["trace", "a", "t"], ["tcp"]),
        (["events", "--fol"], ["--follow"]),
        (["plan", "--all"], ["--all-namespaces"]),
    ],
)
def test_words_are_completed(words: list[str], some: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [*some, ":4"]
