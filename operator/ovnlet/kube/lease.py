"""Who leads, by a Lease: one replica at a time, and another soon after it has gone.

Whoever holds the Lease renews it. The others watch it by their own clock only: a Lease that has not changed for as
long as it says is nobody's. The holder stops by itself before that, and an end in good order gives it back at once.
"""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import structlog

from ovnlet.kube.session import Access, ApiFault, call

# In parts of the Lease's duration: how often it is renewed, and when one gives up that cannot.
RENEW, GIVE_UP = 0.2, 0.7
log = structlog.get_logger("lease")


class Lease:
    """``held()`` returns once this replica leads, ``keep()`` when it does no longer, ``release()`` hands it on."""

    def __init__(
        self, access: Access, namespace: str, name: str, identity: str, seconds: float
    ) -> None:
        self._access, self._identity, self._seconds = access, identity, seconds
        self._list = f"{access.server}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name, self._namespace = name, namespace
        self._seen: tuple[str, float] = ("", 0.0)  # its version, and when we first saw that
        self._body: dict[str, Any] = {}
        self.leader = ""

    async def held(self) -> None:
        while True:
            try:
                if await self._try():
                    log.info("leading", identity=self._identity)
                    return
            except ApiFault as fault:
                log.warning("cannot look at the Lease", error=str(fault))
            await asyncio.sleep(self._seconds * RENEW * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def keep(self) -> None:
        """Renew until another holds it, or until it could not be renewed for so long that another soon will."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() - renewed < self._seconds * GIVE_UP:
            await asyncio.sleep(self._seconds * RENEW)
            began = loop.time()
            try:
                async with asyncio.timeout(self._seconds * GIVE_UP - (began - renewed)):
                    if not await self._try():
                        break
                renewed = began
            except (ApiFault, TimeoutError) as error:
                log.warning("cannot renew the Lease", error=str(error) or "no answer in time")
        log.warning("leading no more", leader=self.leader)

    async def release(self) -> None:
        """Nobody has to wait for it to run out."""
        if self.leader == self._identity:
            try:
                async with asyncio.timeout(2):
                    await self._write("")
            except (ApiFault, TimeoutError) as error:
                log.warning("cannot give the Lease back", error=str(error))

    async def _try(self) -> bool:
        """Take it or renew it; False where another has it."""
        try:
            async with self._access.session() as http:
                self._body = await call(http, "GET", f"{self._list}/{self._name}")
        except ApiFault as fault:
            if fault.status != 404:
                raise
            self._body = {}
        spec = self._body.get("spec") or {}
        self.leader = spec.get("holderIdentity") or ""
        now = asyncio.get_running_loop().time()
        version = (self._body.get("metadata") or {}).get("resourceVersion", "")
        if version != self._seen[0]:
            self._seen = (version, now)
        lasts = float(spec.get("leaseDurationSeconds") or self._seconds)
        if self.leader not in ("", self._identity) and now - self._seen[1] < lasts:
            return False
        return await self._write(self._identity)

    async def _write(self, holder: str) -> bool:
        """As its version was read: of two who write at once, one is refused."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = self._body.get("spec") or {}
        same = before.get("holderIdentity") == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": now,
            "acquireTime": before.get("acquireTime", now) if same else now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not same),
        }
        meta = self._body.get("metadata") or {"name": self._name, "namespace": self._namespace}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": meta,
            "spec": spec,
        }
        method, url = ("PUT", f"{self._list}/{self._name}") if self._body else ("POST", self._list)
        try:
            async with self._access.session() as http:
                self._body = await call(http, method, url, json=body)
        except ApiFault as fault:
            if fault.status == 409:
                return False
            raise
        self.leader = holder
        return True
