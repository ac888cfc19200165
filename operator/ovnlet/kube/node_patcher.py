"""Values that the agent keeps up to date on its own Node.

A patcher writes when the Node differs from what is wanted, and never just to refresh a value.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from ovnlet.kube.objects import NODES, OwnNode
from ovnlet.kube.session import Access, ApiFault, call, is_transient

# Seconds: the longest back-off, and the wait after a refusal that time alone does not heal, such as
# a missing right.
MAX_BACKOFF, REFUSED_WAIT = 5.0, 300.0
# Patches go to the status subresource: an agent then needs no right to change a Node's spec or
# labels. The subresource takes annotations as well.
_HEADERS = {"Content-Type": "application/strategic-merge-patch+json"}
_T = TypeVar("_T")
log = structlog.get_logger("node")


class NodePatcher(ABC, Generic[_T]):
    """Keeps one value of the own Node equal to the wanted one.

    ``seen`` and ``want`` return at once; ``run`` writes. ``refused`` is called once for each answer
    that time alone does not heal, with words for the administrator.
    """

    def __init__(
        self, access: Access, node: str, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self._access, self._node, self._report_refused = access, node, refused
        self._refusal = ""
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
        self._changed.set()  # what an earlier run left
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write_at_last()
            except ApiFault as fault:
                self._report(str(fault))
                with suppress(TimeoutError):
                    async with asyncio.timeout(REFUSED_WAIT):
                        await self._changed.wait()
                self._changed.set()

    async def _write_at_last(self) -> None:
        """Write, with retries while those may help. Raise ApiFault for a refusal."""
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.25, min=0.1, max=MAX_BACKOFF),
            retry=retry_if_exception(is_transient),
            reraise=True,
        ):
            with attempt:
                await self._write()
        self._refusal = ""

    def _report(self, refusal: str) -> None:
        """Log and report a refusal, once until another one comes or a patch succeeds."""
        if refusal == self._refusal:
            return
        self._refusal = refusal
        what = type(self).__name__
        log.warning("the API server refuses a patch of the Node", what=what, error=refusal)
        self._report_refused(f"{what} is not written to the Node: {refusal}")

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
