"""Supervision: every part of the agent runs until it is stopped, and alone restarts if it fails.

What neighbours, disks and the operating system do is foreseen, however often it comes. A part that
ends by anything else five times in a minute makes `/healthz` fail, and kubelet restarts the pod.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog

from ovnlet.core.errors import OvnletError
from ovnlet_cni.installer import InstallError
from ovnlet_cni.listener import UnusableSocket

log = structlog.get_logger("supervisor")

# Seconds: the first pause before a restart, which doubles, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
# Seconds without a failure after which earlier ones no longer count.
HEALTHY_AFTER = 60.0
# So many unforeseen failures within that time mean that the part does not recover by itself.
TOO_MANY = 5
# One restart is no reason to refuse pods: failures in a row, and seconds since the last of them.
REPEATED, RECENT = 3, 10.0
# Of foreseen failures in a row, the first is logged with its traceback, then one in twenty.
_LOGGED = 20
_FORESEEN = (OvnletError, OSError, aiohttp.ClientError, InstallError, UnusableSocket)


@dataclass(frozen=True, slots=True)
class Part:
    """What runs: ``run`` is called again after a failure, and continues what was left undone.

    One that returns has done its work. ``essential`` is whether pods cannot be attached without it.
    """

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    essential: bool = False


@dataclass(slots=True)
class _Failures:
    """The failures of one part. All times are in seconds of the loop."""

    essential: bool
    in_a_row: int = 0
    pause: float = FIRST_PAUSE
    last: float = float("-inf")
    reason: str = ""
    unforeseen: deque[float] = field(default_factory=lambda: deque(maxlen=TOO_MANY))

    def add(self, error: BaseException, began: float, now: float) -> float:
        """Count a failure of the run from ``began`` on. Return the pause before the next one."""
        if now - began >= HEALTHY_AFTER:
            self.in_a_row, self.pause = 0, FIRST_PAUSE
        self.in_a_row += 1
        self.last, self.reason = now, f"{type(error).__name__}: {error}"
        if not is_foreseen(error):
            self.unforeseen.append(now)
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        return pause

    def is_lasting(self, now: float) -> bool:
        """Return whether it has failed several times in a row, and just now."""
        return self.in_a_row >= REPEATED and now - self.last < RECENT

    def is_beyond_repair(self, now: float) -> bool:
        """Return whether unforeseen failures come so often that a new process is the better try."""
        times = self.unforeseen
        return len(times) == TOO_MANY and now - times[0] < HEALTHY_AFTER


class Supervisor:
    """Runs parts. ``count`` is called with the name of a part that has failed."""

    def __init__(self, count: Callable[[str], None] = lambda _: None) -> None:
        self._count = count
        self._failures: dict[str, _Failures] = {}

    @asynccontextmanager
    async def running(self, *parts: Part) -> AsyncIterator[None]:
        """Run the parts meanwhile; at the end, cancel them and wait for their ends."""
        tasks = {asyncio.create_task(self._keep(part), name=part.name) for part in parts}
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def unhealthy(self) -> str | None:
        """Return why a new process is needed; None while there is no reason. For `/healthz`."""
        now = asyncio.get_running_loop().time()
        found = (
            f"{name} has failed {TOO_MANY} times in a minute: {each.reason}"
            for name, each in self._failures.items()
            if each.is_beyond_repair(now)
        )
        return "; ".join(found) or None

    def refusal(self) -> str | None:
        """Return why no pod can be attached now, by the failures of essential parts; or None."""
        return "; ".join(self._lasting(asyncio.get_running_loop().time())) or None

    def _lasting(self, now: float) -> Iterator[str]:
        for name, each in self._failures.items():
            if each.essential and each.is_lasting(now):
                yield f"the agent's {name} fails and is restarted: {each.reason}"

    async def _keep(self, part: Part) -> None:
        """Run a part, and again after each failure, until it returns or is cancelled."""
        loop = asyncio.get_running_loop()
        failures = self._failures.setdefault(part.name, _Failures(part.essential))
        while True:
            began = loop.time()
            error = await _outcome(part)
            if error is None:
                return
            pause = failures.add(error, began, loop.time())
            self._count(part.name)
            if not is_foreseen(error) or failures.in_a_row % _LOGGED == 1:
                log.error(
                    "a part failed and is restarted",
                    part=part.name,
                    failures=failures.in_a_row,
                    pause=pause,
                    exc_info=error,
                )
            await asyncio.sleep(pause)


async def _outcome(part: Part) -> BaseException | None:
    """Run a part once, and return what ended it. Raise CancelledError if we are cancelled.

    A CancelledError that nobody of ours asked for is a failure like any other.
    """
    try:
        await part.run()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    except Exception as error:  # noqa: BLE001 - whatever ends a part, the others go on
        return error
    return None


def is_foreseen(error: BaseException) -> bool:
    """Return whether this is what neighbours, disks and limits do; a group is if all of it is."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_foreseen(each) for each in error.exceptions)
    return isinstance(error, _FORESEEN)
