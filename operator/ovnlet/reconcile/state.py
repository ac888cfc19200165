"""The pods of this node as last heard of, and the means to wait until one of them changes."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ovnlet.core.attachment import Pod

Owner = tuple[str, str]


class State:
    """Pods by namespace and name. ``changed`` is called with the owner of each pod that changed.

    Before the first complete list, a pod that is not here is unknown; after it, it is absent.
    """

    def __init__(self, changed: Callable[[Owner], None] = lambda _: None) -> None:
        self._pods: dict[Owner, Pod] = {}
        self._changed = changed
        self._waiting: dict[Owner, set[asyncio.Event]] = {}
        self._complete = asyncio.Event()

    def get(self, owner: Owner) -> Pod | None:
        return self._pods.get(owner)

    def __iter__(self) -> Iterator[Pod]:
        return iter(tuple(self._pods.values()))

    @property
    def complete(self) -> bool:
        return self._complete.is_set()

    async def listed(self) -> None:
        """Return once a complete list was taken."""
        await self._complete.wait()

    def put(self, pod: Pod) -> None:
        """Take a pod as it is now. A hint that changes nothing wakes nobody."""
        if self._pods.get(pod.owner) != pod:
            self._pods[pod.owner] = pod
            self._tell(pod.owner)

    def gone(self, owner: Owner, object_uid: str) -> None:
        """Forget a pod, unless one of the same name has taken its place."""
        pod = self._pods.get(owner)
        if pod is not None and pod.object_uid == object_uid:
            del self._pods[owner]
            self._tell(owner)

    def replace(self, pods: Iterable[Pod]) -> None:
        """Take a complete list: what it lacks is gone."""
        listed = {pod.owner: pod for pod in pods}
        self._complete.set()
        for pod in tuple(self._pods.values()):
            if pod.owner not in listed:
                self.gone(pod.owner, pod.object_uid)
        for pod in listed.values():
            self.put(pod)

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

    def _tell(self, owner: Owner) -> None:
        for event in self._waiting.get(owner, ()):
            event.set()
        self._changed(owner)
