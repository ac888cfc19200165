"""Progress that a command shows on a terminal and not in a pipe."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

# Nothing answers there, so a command waits.
NOWHERE = (
    "--ovsdb=/nonexistent/db.sock",
    "--ovn-run-dir=/nonexistent",
    "--cni-socket=/nonexistent/cni.sock",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The output on a terminal and in pipes."""

    terminal: str = ""
    stdout: bytes = b""
    stderr: bytes = b""


def _words(directory: Path, *words: str) -> list[str]:
    places = (
        *NOWHERE,
        f"--run-dir={directory}",
        f"--cni-conf-dir={directory}",
        "--api-server=https://127.0.0.1:1",
    )
    return [sys.executable, "-m", "ovnlet", *words, *places]


def _at_a_terminal(words: list[str], *, piped: bool = False) -> Seen:
    """Run a command on a terminal; with `piped` its standard output is a pipe instead."""
    master, slave = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    stdout = subprocess.PIPE if piped else slave
    with subprocess.Popen(words, stdin=slave, stdout=stdout, stderr=slave, env=env) as process:
        os.close(slave)
        seen = b""
        while read := _read(master):
            seen += read
        os.close(master)
        return Seen(seen.decode(), process.stdout.read() if process.stdout else b"")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # EIO: the other end is closed
        return b""


def _in_pipes(words: list[str]) -> Seen:
    done = subprocess.run(words, capture_output=True, check=True)
    return Seen("", done.stdout, done.stderr)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """Run all commands at the same time, as each takes seconds."""
    where = tmp_path_factory.mktemp("run")
    bundle = _words(where, "bundle", "/dev/null")
    with ThreadPoolExecutor() as pool:
        runs = {
            "doctor": pool.submit(_at_a_terminal, _words(where, "doctor")),
            "half piped": pool.submit(_at_a_terminal, bundle, piped=True),
            "piped": pool.submit(_in_pipes, bundle),
            "archive": pool.submit(_in_pipes, _words(where, "bundle", "-")),
        }
        yield {name: run.result() for name, run in runs.items()}


def test_a_terminal_shows_what_a_command_waits_for(seen: dict[str, Seen]) -> None:
    shown = seen["doctor"].terminal
    assert re.search(r"looking.*0:00:0\d", shown), shown
    assert re.search(r"waiting for Open vSwitch and OVN.*0:00:0\d", shown), shown
    assert "ovsdb-server" in shown.rpartition("waiting for")[2], "the findings stand below it"


def test_a_pipe_gets_the_result_and_no_progress(seen: dict[str, Seen]) -> None:
    assert "collect" in seen["half piped"].terminal
    assert seen["half piped"].stdout == seen["piped"].stdout
    assert seen["piped"].stdout.startswith(b"/dev/null: versions.json, ")
    assert seen["piped"].stderr == b""


def test_a_bundle_may_go_to_a_pipe(seen: dict[str, Seen]) -> None:
    made = seen["archive"]
    listed = subprocess.run(
        ["tar", "-tz"], input=made.stdout, capture_output=True, check=True
    ).stdout
    assert b"ovnlet-bundle/doctor.json" in listed
    assert made.stderr.startswith(b"-: versions.json, ")
