"""Start-up and resync: in order, never at once, and never before their inputs. On a fake clock."""

import asyncio
import errno
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ovnlet.agent.startup import Startup
from ovnlet.agent.supervisor import Part, Supervisor

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
FULL = OSError(errno.ENOSPC, "No space left on device")


class Steps:
    """Every step takes a second and is written down; one of them may fail, or wait for an event."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.events: dict[str, asyncio.Event] = {}
        self.running = self.most = 0
        files = SimpleNamespace(
            prepare=self.step("prepare"), open=lambda: None, every_key=lambda: (), passes=str
        )
        nothing = SimpleNamespace(deletes=(), skipped=())
        self.startup = Startup(
            ovs_ready=self.step("ovsdb"),
            state=cast("Any", SimpleNamespace(listed=self.step("listed"))),
            records=cast("Any", []),
            loop=cast("Any", SimpleNamespace(settle=self.step("settle"), passes=lambda _: None)),
            attaching=cast("Any", None),
            sweep=cast("Any", SimpleNamespace(round=self.step("sweep"))),
            cni_files=cast("Any", files),
            cni_scope=cast("Any", files),
            pending=cast("Any", SimpleNamespace(read=lambda: nothing)),
            restores=[self._restore],
            timed=nullcontext,
        )

    def step(self, name: str) -> Any:
        """Return a step of that name."""

        async def run() -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                self.log.append(name)
                await asyncio.sleep(1)
                if name in self.events:
                    await self.events[name].wait()
                self._fail(name)
            finally:
                self.running -= 1

        return run

    def _restore(self) -> None:
        self.log.append("restore")
        self._fail("restore")

    def _fail(self, name: str) -> None:
        if self.failures.get(name):
            raise self.failures[name].pop(0)

    async def run(self, seconds: float) -> None:
        """Run as the wiring does."""
        async with Supervisor().running(Part("steps", lambda: self.startup.keep(60, 2))):
            await asyncio.sleep(seconds)


START = ["ovsdb", "settle", "listed", "settle", "sweep", "prepare"]
RESYNC = ["restore", "prepare", "settle", "sweep"]


async def test_resync_comes_after_start_up_and_never_at_the_same_time() -> None:
    """L17: two sweeps at once would take one look for two."""
    steps = Steps()
    await steps.run(200)
    assert steps.log[:10] == [*START, *RESYNC]
    assert steps.log[10:14] == RESYNC
    assert steps.most == 1
    assert steps.startup.verdict is None


@pytest.mark.parametrize("away", ["ovsdb", "listed"])
async def test_no_resync_runs_before_the_inputs_are_there(away: str) -> None:
    """L12: with OVSDB or the API server away start-up waits, and STATUS says for what."""
    steps = Steps()
    steps.events[away] = asyncio.Event()
    await steps.run(600)
    assert "restore" not in steps.log
    assert "sweep" not in steps.log
    verdict = steps.startup.verdict
    assert verdict is not None
    assert ("OVSDB" if away == "ovsdb" else "API server") in verdict.reason


@pytest.mark.parametrize("step", ["ovsdb", "settle", "listed", "sweep", "prepare"])
async def test_a_step_of_start_up_that_fails_is_said_and_start_up_begins_anew(step: str) -> None:
    """L5: on the old code the process ended. No resync runs in between."""
    steps = Steps()
    steps.failures[step] = [FULL]
    if step == "settle":  # passes report their own failures
        steps.failures[step] = []
    await steps.run(60)
    assert steps.startup.verdict is None
    before = steps.log[: steps.log.index("restore")]
    assert before[-6:] == START
    assert len(before) == 6 or before[0] == "ovsdb"


async def test_status_has_the_error_of_a_step_that_fails() -> None:
    """L5: a reason in STATUS."""
    steps = Steps()
    steps.failures["ovsdb"] = [FULL] * 100
    async with Supervisor().running(Part("steps", lambda: steps.startup.keep(60, 2))):
        await asyncio.sleep(1.05)
        verdict = steps.startup.verdict
    assert verdict is not None
    assert "OVSDB" in verdict.reason
    assert "No space left on device" in verdict.reason


@pytest.mark.parametrize("step", ["restore", "prepare", "sweep"])
async def test_a_step_of_resync_that_fails_keeps_no_other_from_its_turn(step: str) -> None:
    """L5: a full disk must not keep drift from being found; it is tried again at the usual pace."""
    steps = Steps()
    await steps.run(9)
    seen = len(steps.log)
    steps.failures[step] = [FULL] * 100
    await steps.run(300)
    rounds = steps.log[seen:].count("restore")
    assert 3 <= rounds <= 6
    assert steps.log[seen:].count("settle") >= rounds - 1
    assert steps.startup.verdict is None


async def test_pending_deletions_that_cannot_be_read_keep_no_pass_from_its_turn() -> None:
    """As without a free descriptor: a soak found the whole part restarted with a traceback."""
    steps = Steps()
    steps.failures["read"] = [OSError(errno.EMFILE, "Too many open files")] * 2

    def read() -> Any:
        steps._fail("read")
        return SimpleNamespace(deletes=(), skipped=())

    steps.startup._pending = cast("Any", SimpleNamespace(read=read))
    await steps.run(14)
    assert steps.log[:10] == START + RESYNC
