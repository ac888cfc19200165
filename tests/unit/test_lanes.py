"""The table of CI's lanes, and how their results are counted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lanes
from lanes import Lane, Row

ROOT = Path(__file__).parents[2]
DRIFT = Lane("drift", "drift", 1, "drift.json", ("kind",), ("repaired", "control_broken"))
JUNIT = (
    '<testsuites><testsuite tests="5" skipped="1" failures="{bad}" errors="0" time="2.5"/>'
    "</testsuites>"
)


def report(build: Path, *rows: dict[str, Any]) -> None:
    build.mkdir(exist_ok=True)
    (build / "drift.json").write_text(json.dumps(rows))


def test_every_lane_is_a_documented_make_target() -> None:
    makefiles = [ROOT / "Makefile", ROOT / "tests/testbed/bed.mk"]
    text = "\n".join(path.read_text() for path in makefiles)
    documented = {
        name for names in re.findall(r"^([a-z0-9 -]+):.*## ", text, re.M) for name in names.split()
    }
    for lane in lanes.lanes():
        targets = {word for word in lane.make.split() if "=" not in word}
        assert targets <= documented, lane


def test_every_lane_with_rows_says_what_counts_as_good() -> None:
    table = lanes.lanes()
    assert len({lane.name for lane in table}) == len(table)
    for lane in table:
        assert bool(lane.kind and lane.good) == lane.report.endswith(".json"), lane
        assert lane.minutes <= 60, lane


def test_ci_runs_all_lanes() -> None:
    words = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in words if line.startswith("make")] == ['make ci LANES="$*"']


def test_lanes_are_chosen_by_name_in_the_order_of_the_table() -> None:
    table = [Lane(name, name, 1) for name in ("a", "b", "c")]
    assert lanes.chosen([], table) == table
    assert [lane.name for lane in lanes.chosen(["c", "a"], table)] == ["a", "c"]


def test_an_unknown_lane_is_refused_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        lanes.main(["dirft"])
    assert caught.value.code == 2
    assert "no lane dirft; there are check, " in capsys.readouterr().err


def test_a_kind_passes_only_if_all_its_rows_are_good(tmp_path: Path) -> None:
    good = {"repaired": True, "control_broken": True}
    rows = [{"kind": "a", **good}, {"kind": "b", **good}, {"kind": "b", **good, "repaired": False}]
    report(tmp_path, *rows, {"kind": "c", "repaired": True, "control_broken": None})
    assert lanes.counted(DRIFT, tmp_path, 0, 3.0) == [Row("drift", 3, 1, 3.0, ok=False)]


@pytest.mark.parametrize(("code", "rows", "ok"), [(0, 1, True), (1, 1, False), (0, 0, False)])
def test_a_lane_needs_exit_code_0_and_a_row(tmp_path: Path, code: int, rows: int, ok: bool) -> None:
    report(tmp_path, *[{"kind": "a", "repaired": True, "control_broken": True}] * rows)
    assert lanes.counted(DRIFT, tmp_path, code, 1.0) == [Row("drift", rows, rows, 1.0, ok)]


def test_a_lane_without_its_report_has_failed(tmp_path: Path) -> None:
    assert lanes.counted(DRIFT, tmp_path, 0, 1.0) == [Row("drift", 0, 0, 1.0, ok=False)]


@pytest.mark.parametrize("text", ['[{"kind": "a", ', '[{"kind": "a", "repaired": true}]'])
def test_a_report_that_lacks_something_is_not_good(tmp_path: Path, text: str) -> None:
    (tmp_path / "drift.json").write_text(text)
    (row,) = lanes.counted(DRIFT, tmp_path, 0, 1.0)
    assert (row.passed, row.ok) == (0, False)


def test_floors_are_counted_one_by_one_without_skipped_tests(tmp_path: Path) -> None:
    (tmp_path / "junit").mkdir()
    for name, bad in (("unit", 0), ("node", 2)):
        (tmp_path / "junit" / f"{name}.xml").write_text(JUNIT.format(bad=bad))
    floors = Lane("test", "test", 1, "junit/*.xml")
    first, *others = lanes.counted(floors, tmp_path, 1, 9.0)
    assert first == Row("test", 8, 6, 9.0, ok=False)
    assert set(others) == {
        Row("test: unit", 4, 4, 2.5, ok=True),
        Row("test: node", 4, 2, 2.5, ok=False),
    }


def printed(build: Path, text: str) -> None:
    (build / "ci").mkdir(parents=True)
    (build / "ci/drift.log").write_text(text)


def test_the_rows_that_are_not_good_are_shown_at_the_end(tmp_path: Path) -> None:
    """What a lane printed is cut where only the end of a run's output is kept."""
    bad = {"kind": "b", "repaired": False, "control_broken": True}
    report(tmp_path, {"kind": "a", "repaired": True, "control_broken": True}, bad)
    printed(tmp_path, "one\nFAILED a::b\ntwo\n")
    assert lanes.evidence(DRIFT, tmp_path)[1:] == [json.dumps(bad), "FAILED a::b"]


def test_the_end_of_its_log_is_shown_where_no_row_is_bad(tmp_path: Path) -> None:
    printed(tmp_path, "".join(f"{number}\n" for number in range(99)))
    assert lanes.evidence(DRIFT, tmp_path)[1:] == [f"{number}" for number in range(69, 99)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a directory with a Makefile of five targets, and a report of an earlier run."""
    (tmp_path / "Makefile").write_text(
        "good:\n\t@echo said $(WORD)\nbad:\n\t@false\nslow:\n\t@sleep 600 & echo $$! >child; wait\n"
        "waits:\n\t@until test -e there; do sleep 0.01; done\nwaited:\n\t@touch there\n"
    )
    report(tmp_path / "build", {"kind": "old", "repaired": True, "control_broken": True})
    return tmp_path


def test_a_lane_runs_its_target_and_keeps_what_it_printed(checkout: Path) -> None:
    rows = lanes.run([Lane("a", "good WORD=x", 1), Lane("b", "bad", 1)], root=checkout)
    assert [(row.lane, row.ok) for row in rows] == [("a", True), ("b", False)]
    assert (checkout / "build/ci/a.log").read_text() == "said x\n"


def test_lanes_run_at_once(checkout: Path) -> None:
    rows = lanes.run([Lane("a", "waits", 1), Lane("b", "waited", 1)], 2, checkout)
    assert [(row.lane, row.ok) for row in rows] == [("a", True), ("b", True)]


def test_a_report_of_an_earlier_run_does_not_count(checkout: Path) -> None:
    lane = Lane("drift", "good", 1, "drift.json", ("kind",), ("repaired",))
    (row,) = lanes.run([lane], root=checkout)
    assert (row.kinds, row.ok) == (0, False)


def test_a_lane_that_takes_too_long_is_ended_with_what_it_started(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell starts its `sleep` with SIGINT ignored."""
    monkeypatch.setattr(lanes, "_ENDING", 0.5)
    (row,) = lanes.run([Lane("slow", "slow", 1 / 60)], root=checkout)
    assert not row.ok
    assert row.seconds < 60
    assert _has_ended((checkout / "child").read_text().strip())


_INTERRUPTED = """
import lanes, pathlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
lanes._ENDING = 0.5
lanes.run([lanes.Lane("slow", "slow", 9)] * 3, 2, pathlib.Path())
"""


def test_an_interrupt_ends_the_lane_too(checkout: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        started = checkout / "child"
        deadline = time.monotonic() + 60
        while not (started.exists() and started.read_text().strip()):
            assert time.monotonic() < deadline, "the lane has not begun"
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60)
    assert _has_ended(started.read_text().strip())


def _has_ended(pid: str) -> bool:
    """Return whether a process has ended; a zombie has no command line."""
    command = Path("/proc", pid, "cmdline")
    return not command.exists() or command.read_bytes() == b""
