"""When `ovn-installed` counts as lost, and how often ovn-controller recomputes. On a fake clock."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ovnlet.core.errors import NotReady
from ovnlet.drivers.ovs.installed import InstalledTracker, Recompute
from ovnlet.drivers.ovsdb import unixctl

pytestmark = pytest.mark.looptime


def row(*, installed: bool, ofport: int = 5) -> dict[str, Any]:
    ids = {"ovnlet": "c1/eth0", **({"ovn-installed": "true"} if installed else {})}
    return {"name": "c1_h", "external_ids": ids, "ofport": ofport}


async def test_a_removed_ovn_installed_counts_as_lost_soon() -> None:
    hints: list[tuple[str, str]] = []
    tracker = InstalledTracker(lambda mark, name: hints.append((mark, name)))
    tracker.change(row(installed=True), row(installed=False))
    await asyncio.sleep(0.2)
    assert not tracker.is_lost("c1_h")
    await asyncio.sleep(0.2)
    assert tracker.is_lost("c1_h")
    assert hints == [("c1/eth0", "c1_h")]
    tracker.change(row(installed=False), row(installed=True))
    assert not tracker.is_lost("c1_h")


async def test_one_removed_together_with_our_mark_counts_as_lost_as_soon() -> None:
    tracker = InstalledTracker(lambda _mark, _name: None)
    cleared = {**row(installed=False), "external_ids": {}}
    tracker.change(row(installed=True), cleared)
    tracker.change(cleared, row(installed=False))
    await asyncio.sleep(0.4)
    assert tracker.is_lost("c1_h")


async def test_a_port_that_ovn_rebinds_is_left_alone() -> None:
    tracker = InstalledTracker(lambda _mark, _name: None)
    tracker.change(row(installed=True), row(installed=False))
    await asyncio.sleep(0.1)
    tracker.change(row(installed=False), row(installed=True))
    await asyncio.sleep(60)
    assert not tracker.is_lost("c1_h")


async def test_a_port_that_never_had_it_has_30_seconds() -> None:
    tracker = InstalledTracker(lambda _mark, _name: None)
    tracker.change(row(installed=False, ofport=-1), row(installed=False))
    await asyncio.sleep(29)
    assert not tracker.is_lost("c1_h")
    await asyncio.sleep(2)
    assert tracker.is_lost("c1_h")


async def test_a_port_that_a_new_session_finds_without_it_has_3_seconds() -> None:
    tracker = InstalledTracker(lambda _mark, _name: None)
    tracker.change(None, row(installed=False))
    await asyncio.sleep(2)
    assert not tracker.is_lost("c1_h")
    await asyncio.sleep(2)
    assert tracker.is_lost("c1_h")


async def test_one_recompute_serves_all_callers_and_many_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def call(_: Path, method: str) -> str:
        asked.append(method)
        return ""

    monkeypatch.setattr(unixctl, "call", call)
    monkeypatch.setattr(unixctl, "control_socket", lambda *_: Path("/nowhere"))
    recompute = Recompute(Path("/nowhere"))
    await asyncio.gather(*(recompute() for _ in range(50)))
    assert asked == ["inc-engine/recompute"]
    refused = 0
    for _ in range(200):
        await asyncio.sleep(0.6)
        try:
            await recompute()
        except NotReady:
            refused += 1
    assert 25 <= len(asked) <= 35  # twenty at once, and one each ten seconds of two minutes
    assert len(asked) + refused == 201
