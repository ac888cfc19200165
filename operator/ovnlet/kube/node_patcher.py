"""Values that the agent keeps up to date on its own Node.

A patcher writes when the Node differs from what is wanted, and never just to refresh a value.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from ovnlet.core.errors import NotReady
from ovnlet.kube.objects import NODES, OwnNode
from ovnlet.kube.session import Access, call

MAX_BACKOFF = 5.0  # seconds
# Patches go to the status subresource: an agent then needs no right to change a Node's spec or
# labels. The subresource takes annotations as well.
_HEADERS = {"Content-Type": "application/strategic-merge-patch+json"}
_T = TypeVar("_T")
log = structlog.get_logger("node")


class NodePatcher(ABC, Generic[_T]):
    """Keeps one value of the own Node equal to the wanted one.

    ``seen`` and ``want`` return at once; ``run`` writes.
    """

    def __init__(self, access: Access, node: str) -> None:
        self._access, self._node = access, node
        self._observed: _T | None = None
        self._exists = False
        self._wanted: _T | None = None
        self._changed = asyncio.Event()

    @abstractmethod
    def read(self, node: OwnNode) -> _T | None:
        """Return the value that the Node has; None if it has none."""

    @abstractmethod
    def body(self, wanted: _T) -> dict[str, Any]:
        """Return the patch that gives the Node the wanted value."""

    def seen(self, node: OwnNode | None) -> None:
        """Take the Node as it is now; None if it does not exist."""
        self._exists = node is not None
        self._observed = self.read(node) if node else None
        self._changed.set()

    def want(self, wanted: _T) -> None:
        """Set the value that the Node should have."""
        self._wanted = wanted
        self._changed.set()

    async def run(self) -> None:
        """Write whenever the Node differs, and retry without end. Returns only when cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, min=0.1, max=MAX_BACKOFF),
                retry=retry_if_exception_type(NotReady),
            ):
                with attempt:
                    await self._write()

    async def _write(self) -> None:
        """Patch the Node if it exists and differs. Raises ApiFault."""
        wanted = self._wanted
        if not self._exists or wanted is None or wanted == self._observed:
            return
        url = f"{self._access.server}{NODES.path}/{self._node}/status"
        async with self._access.session() as http:
            await call(http, "PATCH", url, json=self.body(wanted), headers=_HEADERS)
        self._observed = wanted
        log.info("Node patched", what=type(self).__name__, value=wanted)
