"""Leader election by a Lease: one replica leads at a time, and another one soon after it is gone.

The leader renews the Lease. The other replicas watch it by their own clock only: a Lease that has
not changed for its whole duration is free to take. The leader stops by itself before that moment,
and on an orderly stop it releases the Lease at once.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from ovnlet.core.errors import TermEnded
from ovnlet.kube.session import Access, ApiFault, call

# As fractions of the Lease's duration: how often the leader renews it, and for how long a leader
# that cannot renew it goes on.
RENEW, GIVE_UP = 0.2, 0.7
log = structlog.get_logger("lease")


class Lease:
    """One replica's part in the election: ``acquire``, then ``keep``, then ``release``.

    ``leader`` is the identity of the last known leader, empty if there is none. ``seconds`` is the
    Lease's duration. ``number`` is the term that this replica has won last: the Lease's
    ``leaseTransitions``, which is greater in each later term.
    """

    def __init__(
        self, access: Access, namespace: str, name: str, identity: str, seconds: float
    ) -> None:
        self._access, self._identity, self._seconds = access, identity, seconds
        self._list = f"{access.server}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name, self._namespace = name, namespace
        self._seen: tuple[str, float] = ("", 0.0)  # resource version, and when we first saw it
        self._body: dict[str, Any] = {}
        self._turn = asyncio.Lock()  # a read and the write that follows belong together
        self.leader = ""
        self.number = 0

    async def acquire(self, able: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait until this replica leads. Retries without end while the API server is away.

        Before each attempt it waits for ``able()``: until this replica could do a leader's work.
        """
        while True:
            if able is not None:
                await able()
            try:
                if await self._try():
                    log.info("leading", identity=self._identity, term=self.number)
                    return
            except ApiFault as fault:
                log.warning("cannot read the Lease", error=str(fault))
            await asyncio.sleep(self._seconds * RENEW * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def take(self) -> bool:
        """Take or renew it now; return False if another replica holds it. Raise ApiFault."""
        return await self._try()

    async def keep(self) -> None:
        """Renew the Lease until another replica holds it or renewing fails for too long.

        Too long is 0.7 of the duration: another replica takes over soon after.
        """
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while loop.time() - renewed < self._seconds * GIVE_UP:
            await asyncio.sleep(self._seconds * RENEW)
            began = loop.time()
            try:
                async with asyncio.timeout(self._seconds * GIVE_UP - (began - renewed)):
                    if not await self._try(keep=True):
                        break
                renewed = began
            except (ApiFault, TimeoutError) as error:
                log.warning("cannot renew the Lease", error=str(error) or "no answer in time")
        log.warning("no longer leading", leader=self.leader)

    async def advance(self, least: int) -> int:
        """Raise the number of the term to at least ``least``, and return it.

        Raise TermEnded if this replica does not hold the Lease any more, ApiFault if the API server
        does not answer.
        """
        async with self._turn:
            if self.leader != self._identity or not await self._write(self._identity, least):
                raise TermEnded("another replica has the Lease")
            return self.number

    async def release(self) -> None:
        """Free the Lease if this replica holds it, so that no other waits for it to expire.

        Waits 2 s at most. A failure is only logged: the Lease expires anyway.
        """
        if self.leader == self._identity:
            try:
                async with asyncio.timeout(2), self._turn:
                    await self._write("")
            except (ApiFault, TimeoutError) as error:
                log.warning("cannot release the Lease", error=str(error))

    async def _try(self, *, keep: bool = False) -> bool:
        """Take or renew the Lease; return False if another replica holds it. Raises ApiFault.

        With ``keep``, only renew it: return False if this replica does not hold it.
        """
        async with self._turn:
            await self._read()
            if keep and self.leader != self._identity:
                return False
            lasts = float(
                (self._body.get("spec") or {}).get("leaseDurationSeconds") or self._seconds
            )
            age = asyncio.get_running_loop().time() - self._seen[1]
            if self.leader not in ("", self._identity) and age < lasts:
                return False
            return await self._write(self._identity)

    async def _read(self) -> None:
        """Read the Lease, and note when it was first seen in this version."""
        try:
            async with self._access.session() as http:
                self._body = await call(http, "GET", f"{self._list}/{self._name}")
        except ApiFault as fault:
            if fault.status != 404:
                raise
            self._body = {}
        self.leader = (self._body.get("spec") or {}).get("holderIdentity") or ""
        version = (self._body.get("metadata") or {}).get("resourceVersion", "")
        if version != self._seen[0]:
            self._seen = (version, asyncio.get_running_loop().time())

    async def _write(self, holder: str, least: int = 0) -> bool:
        """Write the Lease with this holder; return False if another replica wrote it first.

        The body has the resource version that was read, so that the API server rejects (409) one of
        two concurrent writes.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = self._body.get("spec") or {}
        same = before.get("holderIdentity") == holder
        number = max(int(before.get("leaseTransitions") or 0) + (not same), least)
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": now,
            "acquireTime": before.get("acquireTime", now) if same else now,
            "leaseTransitions": number,
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
        self.leader, self.number = holder, number
        return True
