"""A lost `ovn-installed`: when it counts as lost, and how often ovn-controller is asked. On a fake clock."""

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


async def test_a_port_that_had_it_is_looked_at_soon() -> None:
    hints: list[tuple[str, str]] = []
    bindings = InstalledTracker(lambda mark, name: hints.append((mark, name)))
    bindings.change(row(installed=True), row(installed=False))
    await asyncio.sleep(0.2)
    assert not bindings.is_lost("c1_h")
    await asyncio.sleep(0.2)
    assert bindings.is_lost("c1_h")
    assert hints == [("c1/eth0", "c1_h")]
    bindings.change(row(installed=False), row(installed=True))
    assert not bindings.is_lost("c1_h")


async def test_one_that_lost_it_together_with_our_mark_is_looked_at_as_soon() -> None:
    bindings = InstalledTracker(lambda _mark, _name: None)
    cleared = {**row(installed=False), "external_ids": {}}
    bindings.change(row(installed=True), cleared)
    bindings.change(cleared, row(installed=False))
    await asyncio.sleep(0.4)
    assert bindings.is_lost("c1_h")


async def test_a_port_that_ovn_rebinds_is_left_alone() -> None:
    bindings = InstalledTracker(lambda _mark, _name: None)
    bindings.change(row(installed=True), row(installed=False))
    await asyncio.sleep(0.1)
    bindings.change(row(installed=False), row(installed=True))
    await asyncio.sleep(60)
    assert not bindings.is_lost("c1_h")


async def test_a_port_that_never_had_it_is_given_time() -> None:
    bindings = InstalledTracker(lambda _mark, _name: None)
    bindings.change(row(installed=False, ofport=-1), row(installed=False))
    await asyncio.sleep(29)
    assert not bindings.is_lost("c1_h")
    await asyncio.sleep(2)
    assert bindings.is_lost("c1_h")


async def test_a_port_that_a_new_session_finds_without_it_is_looked_at_sooner() -> None:
    bindings = InstalledTracker(lambda _mark, _name: None)
    bindings.change(None, row(installed=False))
    await asyncio.sleep(2)
    assert not bindings.is_lost("c1_h")
    await asyncio.sleep(2)
    assert bindings.is_lost("c1_h")


async def test_one_recompute_serves_all_and_a_storm_is_slowed(
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
