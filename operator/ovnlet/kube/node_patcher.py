"""What an agent keeps on its own Node: written when the Node says otherwise, never to refresh it."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from ovnlet.core.errors import NotReady
from ovnlet.kube.objects import NODES, OwnNode
from ovnlet.kube.session import Access, call

LONGEST_WAIT = 5.0
# By the subresource: an agent needs no right to change a Node's spec or labels. It takes annotations as well.
_HEADERS = {"Content-Type": "application/strategic-merge-patch+json"}
_T = TypeVar("_T")
log = structlog.get_logger("node")


class NodePatcher(ABC, Generic[_T]):
    """``seen`` and ``want`` return at once; ``run`` writes."""

    def __init__(self, access: Access, node: str) -> None:
        self._access, self._node = access, node
        self._seen: _T | None = None
        self._there = False
        self._wanted: _T | None = None
        self._stir = asyncio.Event()

    @abstractmethod
    def read(self, node: OwnNode) -> _T | None:
        """What the Node says of it."""

    @abstractmethod
    def body(self, wanted: _T) -> dict[str, Any]:
        """The patch that makes the Node say so."""

    def seen(self, node: OwnNode | None) -> None:
        """The Node as it is; None where there is none."""
        self._there = node is not None
        self._seen = self.read(node) if node else None
        self._stir.set()

    def want(self, wanted: _T) -> None:
        self._wanted = wanted
        self._stir.set()

    async def run(self) -> None:
        """Ends only when cancelled."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, min=0.1, max=LONGEST_WAIT),
                retry=retry_if_exception_type(NotReady),
            ):
                with attempt:
                    await self._write()

    async def _write(self) -> None:
        wanted = self._wanted
        if not self._there or wanted is None or wanted == self._seen:
            return
        url = f"{self._access.server}{NODES.path}/{self._node}/status"
        async with self._access.session() as http:
            await call(http, "PATCH", url, json=self.body(wanted), headers=_HEADERS)
        self._seen = wanted
        log.info("written to the Node", what=type(self).__name__, value=wanted)
