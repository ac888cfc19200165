"""The command line of `tests/floors.py`, and how it reads the reports of its tools."""

from xml.etree import ElementTree

import pytest

import floors

REPORT = ElementTree.fromstring("""<testsuites>
<testsuite name="pytest" errors="1" failures="1" skipped="2" tests="7">
<testcase classname="unit.test_a" name="test_figures"><system-out>--- Captured Out ---
one 1.0

two 2.0
</system-out></testcase>
<testcase classname="unit.test_a" name="test_silent"><system-out>--- Captured Out ---

</system-out></testcase>
<testcase classname="unit.test_b" name="test_without_output" />
</testsuite></testsuites>""")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unti"], "no floor 'unti'; there are unit, node, apiserver, "),
        (["unit", "--fast"], "unrecognized arguments: --fast"),
        (["--lon"], "unrecognized arguments: --lon"),
        (["--long", "--whole"], "not allowed with argument"),
    ],
)
def test_an_unknown_word_is_refused_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        floors.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_all_floors_run_when_none_is_named() -> None:
    assert floors.options([]) == floors.Options(
        tuple(floors.FOLDERS), floors.MARKS[""], verbose=False, coverage=True
    )


def test_flags_and_floors_mix() -> None:
    chosen = floors.options(["unit", "-v", "--whole", "cni"])
    assert (chosen.floors, chosen.verbose) == (("unit", "cni"), True)
    assert chosen.marks == floors.MARKS["whole"]


@pytest.mark.parametrize(
    ("arguments", "environment", "measured"),
    [([], "1", True), ([], "0", False), (["--long"], "1", False)],
)
def test_what_runs_under_coverage(arguments: list[str], environment: str, measured: bool) -> None:
    assert floors.options(arguments, environment).coverage is measured


def test_figures_are_what_each_test_printed() -> None:
    assert floors.figures(REPORT) == "unit.test_a::test_figures\none 1.0\n\ntwo 2.0\n"


@pytest.mark.parametrize(("code", "failed"), [(1, 2), (0, 2)])
def test_an_error_counts_as_failed(code: int, failed: int) -> None:
    assert floors.counted("unit", REPORT, code, 1.0) == floors.Floor("unit", 3, failed, 2, 1.0)


@pytest.mark.parametrize(("code", "failed"), [(0, 0), (5, 0), (2, 1), (-9, 1)])
def test_a_bad_exit_code_is_a_failure_even_if_no_test_failed(code: int, failed: int) -> None:
    report = ElementTree.fromstring('<testsuites><testsuite tests="0"/></testsuites>')
    assert floors.counted("unit", report, code, 0.0).failed == failed


def test_the_least_covered_come_first() -> None:
    files = {
        f"m{n:02}.py": {"summary": {"percent_covered": 100.0 - n // 2, "missing_lines": n}}
        for n in range(12)
    }
    rows = floors.least_covered(files)
    assert rows[:3] == [("m11.py", 95.0, 11), ("m10.py", 95.0, 10), ("m09.py", 96.0, 9)]
    assert len(rows) == floors.LEAST_COVERED
