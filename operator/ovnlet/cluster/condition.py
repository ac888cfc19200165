"""NetworkUnavailable, a condition of the Node: whether the node's own way into the cluster's network is there.

Only where the node has such a way; elsewhere the condition is somebody else's. Written when it differs from what the
Node says, never to refresh it.
"""

import asyncio
from datetime import UTC, datetime

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from ovnlet.cluster.bodies import UNAVAILABLE, OwnNode
from ovnlet.cluster.session import Access, call
from ovnlet.core.errors import NotReady

UP, DOWN = ("False", "NodeInterfaceReady"), ("True", "NodeInterfaceFailed")
LONGEST_WAIT = 5.0
log = structlog.get_logger("condition")


class Condition:
    """``seen`` and ``want`` return at once; ``run`` writes."""

    def __init__(self, access: Access, node: str) -> None:
        self._access, self._node = access, node
        self._seen: tuple[str, str] | None = None
        self._there = False
        self._wanted: tuple[str, str] | None = None
        self._message = ""
        self._stir = asyncio.Event()

    def seen(self, node: OwnNode | None) -> None:
        """The Node as it is; None where there is none."""
        self._there = node is not None
        self._seen = node.unavailable if node else None
        self._stir.set()

    def want(self, up: bool, message: str) -> None:
        self._wanted, self._message = UP if up else DOWN, message
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
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status, reason = wanted
        condition = {"type": UNAVAILABLE, "status": status, "reason": reason, "message": self._message}
        body = {"status": {"conditions": [condition | {"lastTransitionTime": now, "lastHeartbeatTime": now}]}}
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        url = f"{self._access.server}/api/v1/nodes/{self._node}/status"
        async with self._access.session() as http:
            await call(http, "PATCH", url, json=body, headers=headers)
        self._seen = wanted
        log.info("condition written", condition=UNAVAILABLE, status=status, reason=reason, message=self._message)
