"""Supervision on a fake clock: back-off, what counts as foreseen, and what is said of failures."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from itertools import pairwise

import aiohttp
import pytest
from structlog.testing import capture_logs

from ovnlet.agent.supervisor import (
    FIRST_PAUSE,
    HEALTHY_AFTER,
    LONGEST_PAUSE,
    RECENT,
    TOO_MANY,
    Part,
    Supervisor,
    is_foreseen,
)
from ovnlet.core.errors import NotReady
from ovnlet_cni.installer import InstallError

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
FULL = OSError(errno.ENOSPC, "No space left on device")


class Failing:
    """A part that runs ``seconds`` and then raises ``error``, while there is one."""

    def __init__(self, error: Exception | None, seconds: float = 0) -> None:
        self.error, self.seconds = error, seconds
        self.began: list[float] = []

    async def run(self) -> None:
        """Run once."""
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error.with_traceback(None)
        await asyncio.Event().wait()


async def test_a_part_restarts_alone_with_a_capped_back_off() -> None:
    """L5: the others do not notice; it is counted and logged."""
    counted: list[str] = []
    supervisor, bad, good = Supervisor(counted.append), Failing(FULL), Failing(None)
    async with supervisor.running(Part("bad", bad.run), Part("good", good.run)):
        await asyncio.sleep(60)
    gaps = [later - earlier for earlier, later in pairwise(bad.began)]
    assert gaps[:3] == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
    assert gaps[-1] == pytest.approx(LONGEST_PAUSE)
    assert len(good.began) == 1
    assert counted == ["bad"] * len(bad.began)


async def test_a_minute_of_health_makes_the_pause_short_again() -> None:
    """L5: rare failures stay cheap."""
    supervisor, part = Supervisor(), Failing(RuntimeError("x"), HEALTHY_AFTER + 1)
    async with supervisor.running(Part("rare", part.run)):
        await asyncio.sleep(20 * HEALTHY_AFTER)
        assert supervisor.unhealthy() is None
    gaps = [later - earlier for earlier, later in pairwise(part.began)]
    assert max(gaps) == pytest.approx(HEALTHY_AFTER + 1 + FIRST_PAUSE)


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        TimeoutError(),
        NotReady("away"),
        aiohttp.ClientPayloadError(),
        InstallError("not ours"),
    ],
)
async def test_neighbours_and_disks_never_make_the_pod_unhealthy(error: Exception) -> None:
    """L5: a new process would meet the same. Alone or in a group of several."""
    assert is_foreseen(ExceptionGroup("several", [error, FULL]))
    supervisor = Supervisor()
    async with supervisor.running(Part("part", Failing(error).run)):
        for _ in range(600):
            await asyncio.sleep(1)
            assert supervisor.unhealthy() is None


async def test_five_unforeseen_failures_in_a_minute_do_until_it_has_recovered() -> None:
    """L6: kubelet restarts the pod; nobody has to find out that a part is gone."""
    supervisor, part = Supervisor(), Failing(KeyError("a defect"))
    assert not is_foreseen(ExceptionGroup("several", [FULL, KeyError()]))
    async with supervisor.running(Part("part", part.run)):
        while len(part.began) < TOO_MANY:
            assert supervisor.unhealthy() is None
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert "part has failed 5 times in a minute" in (supervisor.unhealthy() or "")
        assert "a defect" in (supervisor.unhealthy() or "")
        await asyncio.sleep(300)
        assert supervisor.unhealthy()
        part.error = None
        await asyncio.sleep(HEALTHY_AFTER + LONGEST_PAUSE)
        assert supervisor.unhealthy() is None


async def test_an_essential_part_is_a_reason_to_refuse_pods_while_it_fails() -> None:
    """L5: STATUS says so; a single restart, or a part that no pod needs, is no reason."""
    supervisor, essential, other = Supervisor(), Failing(FULL), Failing(FULL)
    parts = Part("list of pods", essential.run, essential=True), Part("Events", other.run)
    async with supervisor.running(*parts):
        await asyncio.sleep(0.05)
        assert supervisor.refusal() is None
        await asyncio.sleep(60)
        refusal = supervisor.refusal()
        assert refusal is not None
        assert "list of pods" in refusal
        assert "No space left" in refusal
        assert "Events" not in refusal
        essential.error = None
        await asyncio.sleep(LONGEST_PAUSE + RECENT)
        assert supervisor.refusal() is None


async def test_unforeseen_failures_are_all_logged_foreseen_ones_now_and_then() -> None:
    """L6: with their traceback."""
    for error, fewest, most in ((FULL, 1, 3), (KeyError(), 20, 50)):
        supervisor = Supervisor()
        with capture_logs() as logs:
            async with supervisor.running(Part("part", Failing(error).run)):
                await asyncio.sleep(120)
        assert fewest <= len(logs) <= most
        assert all(entry["exc_info"] is error for entry in logs)


async def _returns() -> None:
    await asyncio.sleep(1)


async def _cancels_itself() -> None:
    task = asyncio.create_task(asyncio.sleep(9))
    task.cancel()
    await task


@pytest.mark.parametrize(("run", "failures"), [(_returns, 0), (_cancels_itself, 15)])
async def test_what_ends_without_an_error(
    run: Callable[[], Coroutine[None, None, None]], failures: int
) -> None:
    """L6: one that returns is done; one whose own wait was cancelled is restarted."""
    counted: list[str] = []
    async with Supervisor(counted.append).running(Part("part", run)):
        await asyncio.sleep(60)
    assert len(counted) >= failures
    assert bool(counted) is bool(failures)


async def test_stopping_ends_every_part_first() -> None:
    """L5: what was under it may close then."""
    ended: list[str] = []

    async def part() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append("part")

    async with Supervisor().running(Part("part", part)):
        await asyncio.sleep(1)
    assert ended == ["part"]
