"""Fault injection: raise an exception at the nth call of what a part of the agent depends on."""

import asyncio
import errno
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ovnlet.agent.supervisor import Part, Supervisor
from ovnlet.core.errors import NotReady

# Foreseen ones of disks, limits and neighbours, and one that nobody foresees.
FAULTS: dict[str, Callable[[], Exception]] = {
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "EMFILE": lambda: OSError(errno.EMFILE, "Too many open files"),
    "NotReady": lambda: NotReady("injected"),
    "TimeoutError": lambda: TimeoutError("injected"),
    "RuntimeError": lambda: RuntimeError("injected"),
}
# Seconds, of a fake clock: until the fault must have been met, and until the part works again.
MET, RECOVERED = 300, 120


class Injection:
    """Counts the calls of everything that it wraps, and raises a fault at the ``nth`` one, once.

    ``works_before`` is what ``works`` returned then.
    """

    def __init__(self, fault: str, nth: int) -> None:
        self._fault, self._nth = FAULTS[fault], nth
        self.calls = self.works_before = 0
        self.works: Callable[[], int] = lambda: 0

    @property
    def met(self) -> bool:
        """Whether the fault was raised."""
        return self.calls >= self._nth

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with the fault before it; a coroutine function raises when awaited."""

        @functools.wraps(call)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            self._count()
            return await call(*args, **kwargs)

        @functools.wraps(call)
        def called(*args: Any, **kwargs: Any) -> Any:
            self._count()
            return call(*args, **kwargs)

        return awaited if inspect.iscoroutinefunction(call) else called

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._nth:
            self.works_before = self.works()
            raise self._fault()


class Trial(Protocol):
    """A part of the agent on dependencies in memory, which are wrapped by an injection."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Run the part, as the wiring has it."""

    def poke(self) -> None:
        """Give the part something to do."""

    def works(self) -> int:
        """Return how much it has done so far."""


async def recovers(trial: Trial, injection: Injection) -> None:
    """Fail unless the part meets the fault, and works again after it without help."""
    supervisor, injection.works = Supervisor(), trial.works
    async with supervisor.running(Part("tried", trial.run)):
        for _ in range(MET):
            trial.poke()
            await asyncio.sleep(1)
            if injection.met:
                break
        assert injection.met, f"only {injection.calls} calls: the fault was never met"
        for _ in range(RECOVERED):
            if trial.works() > injection.works_before:
                break
            trial.poke()
            await asyncio.sleep(1)
        assert trial.works() > injection.works_before, "it waits for ever"
        assert supervisor.unhealthy() is None
