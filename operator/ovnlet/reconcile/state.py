"""The pods of this node as last heard of, and the means to wait until one of them changes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ovnlet.core.identity import Pod

Owner = tuple[str, str]


class State:
    """Pods by namespace and name.

    Before the first complete list (``known``), a pod that is not here is unknown; after it, it is absent.
    """

    def __init__(self) -> None:
        self._pods: dict[Owner, Pod] = {}
        self._subscribers: list[Callable[[Owner], None]] = []
        self._waiting: dict[Owner, set[asyncio.Event]] = {}
        self.known = asyncio.Event()

    def subscribe(self, changed: Callable[[Owner], None]) -> None:
        """Call ``changed`` with the owner of each pod that changes, after those that subscribed before."""
        self._subscribers.append(changed)

    def get(self, owner: Owner) -> Pod | None:
        return self._pods.get(owner)

    def __iter__(self) -> Iterator[Pod]:
        return iter(tuple(self._pods.values()))

    @property
    def complete(self) -> bool:
        return self.known.is_set()

    async def listed(self) -> None:
        """Return once a complete list was taken."""
        await self.known.wait()

    def heard(self, was: Pod | None, now: Pod | None) -> None:
        """A pod is another one than before, or gone."""
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
        """An event that is set at each change of that pod, from before the first look at it."""
        event = asyncio.Event()
        self._waiting.setdefault(owner, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[owner].discard(event)
            if not self._waiting[owner]:
                del self._waiting[owner]
