"""What a proof reads from the output of a ping that it ended."""

from __future__ import annotations

import pytest

from proofs.drift.pings import window


def _output(answered: range | list[int], sent: int) -> str:
    lines = [
        f"[1700000000.{number:02d}0000] 64 bytes from 10.16.0.1: icmp_seq={number} ttl=254"
        for number in answered
    ]
    return "\n".join([*lines, f"{sent} packets transmitted, {len(lines)} received"])


def test_lost_packets_have_a_time_and_a_number() -> None:
    found = window("p", "a", _output([1, 2, 5, 6, 8], sent=9))
    assert (found.sent, found.lost, found.outage_ms) == (9, 3, 40.0)
    assert found.gaps == ((1700000000.02, 2), (1700000000.06, 1))


@pytest.mark.parametrize(("under_way", "lost"), [(0.02, 3), (0.08, 0), (1.0, 0)])
def test_packets_under_way_at_the_end_are_not_lost(under_way: float, lost: int) -> None:
    """A processor that is emulated may answer after more than the time between two packets."""
    assert window("p", "a", _output(range(1, 97), sent=100), under_way).lost == lost


def test_who_is_not_answered_for_longer_has_lost_packets() -> None:
    assert window("p", "a", _output(range(1, 31), sent=100), 1.0).lost == 20
    assert window("p", "a", _output([], sent=100), 1.0).lost == 100
