"""The report of restarts of Open vSwitch: what counts as longer, and what chance alone does."""

from typing import Any

from proofs.kernel.restart_report import Verdict, chance

CELL = ("ovs-vswitchd", "stop/start")


def test_gaps_of_one_distribution_differ_by_chance() -> None:
    waits = [600.0, 900.0, 1000.0, 3000.0, 3200.0]
    assert chance(waits, waits) > 0.4


def test_gaps_that_are_all_longer_do_not() -> None:
    assert chance([1100.0 + each for each in range(10)], [1000.0] * 10) < 0.01


def test_a_gap_holds_up_to_a_tenth_and_one_packet() -> None:
    words: dict[str, Any] = {"cell": CELL, "alone": 1000.0, "chance": 0.5}
    assert Verdict(gap=1120.0, **words).holds
    assert not Verdict(gap=1121.0, **words).holds
    assert not Verdict(gap=2000.0, **words | {"chance": 1.0}).holds, "chance is no excuse"
