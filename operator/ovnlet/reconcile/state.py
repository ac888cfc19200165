"""The pods of this node as the API server last sent them, and the means to wait for a change."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ovnlet.core.identity import Pod

Owner = tuple[str, str]


class State:
    """Pods by namespace and name.

    Before the first complete list (``synced``), a pod that is not here is unknown; after it, it is
    absent.
    """

    def __init__(self) -> None:
        self._pods: dict[Owner, Pod] = {}
        self._subscribers: list[Callable[[Owner], None]] = []
        self._waiting: dict[Owner, set[asyncio.Event]] = {}
        self.synced = asyncio.Event()

    def subscribe(self, changed: Callable[[Owner], None]) -> None:
        """Call ``changed`` with the owner of each pod that changes, in order of subscription."""
        self._subscribers.append(changed)

    def get(self, owner: Owner) -> Pod | None:
        """Return a pod; None where it is absent or unknown."""
        return self._pods.get(owner)

    def __iter__(self) -> Iterator[Pod]:
        """Yield every pod."""
        return iter(tuple(self._pods.values()))

    @property
    def complete(self) -> bool:
        """Whether a complete list was taken."""
        return self.synced.is_set()

    async def listed(self) -> None:
        """Wait until a complete list was taken."""
        await self.synced.wait()

    def update(self, was: Pod | None, now: Pod | None) -> None:
        """Take a pod as it was and as it is, None where it is absent, and call the subscribers."""
        pod = now or was
        if pod is None:
            return
        if now is None:
            self._pods.pop(pod.owner, None)
        else:
            self._pods[pod.owner] = now
        for event in self._waiting.get(pod.owner, ()):
            event.set()
        for changed in self._subscribers:
            changed(pod.owner)

    @contextmanager
    def watching(self, owner: Owner) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each change of that pod. The caller clears it."""
        event = asyncio.Event()
        self._waiting.setdefault(owner, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[owner].discard(event)
            if not self._waiting[owner]:
                del self._waiting[owner]
