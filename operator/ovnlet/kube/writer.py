"""What the controller writes to the API server: annotations of pods and Nodes, and its own Subnets' status."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from ovnlet.core.ipam.claims import Claim, NodeClaim
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.kube.objects import NODES, PODS, SUBNETS
from ovnlet.kube.session import Access, ApiFault, call

# More at once only make the API server slower for everybody else.
ABREAST = 16
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Writer:
    """One session for as long as it is used; a write to an object that is gone or another one is no fault."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(ABREAST)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def annotate(self, claim: Claim, annotations: Mapping[str, str]) -> None:
        """In one patch, and only if it is still that very object."""
        body = {"metadata": {"uid": claim.object_uid, "annotations": dict(annotations)}}
        if isinstance(claim, NodeClaim):
            await self._patch(f"{NODES.path}/{claim.name}", body)
        else:
            await self._patch(
                f"/api/v1/namespaces/{claim.namespace}/{PODS.plural}/{claim.name}", body
            )

    async def status(self, subnet: SubnetObject, status: Mapping[str, Any]) -> None:
        body = {"metadata": {"uid": subnet.object_uid}, "status": dict(status)}
        await self._patch(f"{SUBNETS.path}/{subnet.name}/status", body)

    async def finalizers(self, subnet: SubnetObject, finalizers: Sequence[str]) -> None:
        body = {"metadata": {"uid": subnet.object_uid, "finalizers": list(finalizers)}}
        await self._patch(f"{SUBNETS.path}/{subnet.name}", body)

    async def _patch(self, path: str, body: Mapping[str, Any]) -> None:
        async with self._turns:
            if self._http is None or self._http.closed:
                self._http = self._access.session()
            try:
                await call(
                    self._http, "PATCH", f"{self._access.server}{path}", json=body, headers=_MERGE
                )
            except ApiFault as fault:
                if fault.status not in (404, 409):  # gone, or another object of that name
                    raise
