"""How the bench's ratios are compared with the committed ones."""

import json
from pathlib import Path

import pytest

from proofs.bench import ratios
from proofs.bench.implementations import AGENT, FLOOR
from proofs.bench.ratios import Ratio
from proofs.bench.rows import ALONE, BURST, Samples


@pytest.mark.parametrize(
    ("now", "over", "verdict", "ok"),
    [
        (1.0, -50, "good", True),
        (2.2, 10, "good", True),
        (2.3, 15, "WARNING", True),
        (2.98, 49, "WARNING", True),
        (3.0, 50, "FAILURE", False),
    ],
)
def test_ten_per_cent_are_noise_and_fifty_a_failure(
    now: float, over: int, verdict: str, ok: bool
) -> None:
    assert ratios.compared({"ADD": now}, {"ADD": 2.0}) == [
        Ratio("ADD", now, 2.0, over, verdict, ok)
    ]


def test_a_ratio_that_one_side_lacks_is_a_failure() -> None:
    rows = ratios.compared({"new": 1.0}, {"old": 1.0})
    assert {row.name: (row.verdict, row.ok) for row in rows} == {
        "old": ("not measured", False),
        "new": ("not committed", False),
    }


def test_a_ratio_is_that_of_the_medians_at_the_same_number_of_ports() -> None:
    samples = Samples()
    samples.add(ALONE, AGENT, 10, [6.0, 9.0, 7.0])
    samples.add(ALONE, FLOOR, 10, [5.0, 4.0, 1.0])
    samples.add(ALONE, FLOOR, 100, [1.0])
    assert ratios.measured(samples) == {"ADD alone, 10 ports": 1.75}


def test_every_committed_ratio_is_one_that_the_run_measures() -> None:
    names = {f"{what}, {ports} ports" for what, ports in ratios._WHAT}
    assert set(json.loads(ratios.COMMITTED.read_text())) == names


def run(burst: float) -> Samples:
    """Return a run whose bursts of 10 took so many times the floor's, and all else as long."""
    samples = Samples()
    for what, ports in ratios._WHAT:
        ratio = burst if what == f"{BURST} 10" else 1.0
        samples.add(what, AGENT, ports, [ratio])
        samples.add(what, FLOOR, ports, [1.0])
    return samples


@pytest.mark.parametrize(
    ("bursts", "good", "measured"),
    [((1.2, 9.0), True, 1), ((2.0, 1.2), True, 2), ((2.0, 2.1), False, 2)],
)
def test_a_failure_is_measured_once_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bursts: tuple[float, ...],
    good: bool,
    measured: int,
) -> None:
    committed = tmp_path / "ratios.json"
    committed.write_text(json.dumps(ratios.measured(run(1.0))))
    monkeypatch.setattr(ratios, "COMMITTED", committed)
    monkeypatch.setattr(ratios, "write_rows", lambda *_: None)
    runs = list(map(run, bursts))
    assert ratios.judged(lambda: runs.pop(0), commit=False) is good
    assert len(bursts) - len(runs) == measured
