"""The controller's patches: annotations of pods and Nodes, status, finalizers of Subnets.

Annotations are written by the status subresource, which takes metadata too: the controller then
needs no right to change what a pod runs, or a Node's taints.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from ovnlet.core.ipam.claims import Claim, NodeClaim
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.underlay.networks import ProviderNetwork
from ovnlet.kube.objects import IP_POOLS, NODES, PODS, SUBNETS
from ovnlet.kube.provider_networks import PROVIDER_NETWORKS
from ovnlet.kube.session import Access, ApiFault, call

# More concurrent patches only slow the API server down for its other clients.
MAX_CONCURRENT = 16
_KINDS = {SubnetObject: SUBNETS, IpPool: IP_POOLS, ProviderNetwork: PROVIDER_NETWORKS}
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Writer:
    """Patches objects over one session, at most 16 at a time.

    A patch to an object that is gone, or that another object of the same name has replaced, counts
    as done. So does one that names a version which is no longer the object's. Every method raises
    ApiFault if the patch fails otherwise.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def close(self) -> None:
        """Close the session. A later patch opens a new one."""
        if self._http is not None:
            await self._http.close()

    async def annotate(self, claim: Claim, annotations: Mapping[str, str | None]) -> None:
        """Set, or with None remove, all annotations in one patch.

        Only the object with the claim's UID is changed.
        """
        body = {"metadata": {"uid": claim.object_uid, "annotations": dict(annotations)}}
        if isinstance(claim, NodeClaim):
            path = f"{NODES.path}/{claim.name}"
        else:
            path = f"/api/v1/namespaces/{claim.namespace}/{PODS.plural}/{claim.name}"
        await self._patch(f"{path}/status", body)

    async def status(
        self, of: SubnetObject | IpPool | ProviderNetwork, status: Mapping[str, Any]
    ) -> None:
        """Merge ``status`` into the status of an object."""
        body = {"metadata": {"uid": of.object_uid}, "status": dict(status)}
        await self._patch(f"{_KINDS[type(of)].path}/{of.name}/status", body)

    async def finalizers(self, subnet: SubnetObject, finalizers: Sequence[str]) -> None:
        """Replace the Subnet's finalizers, in the version that was read.

        In another version there may be a finalizer of somebody else. Nothing is written then: the
        event of that change makes another pass.
        """
        read = {"uid": subnet.object_uid, "resourceVersion": subnet.version}
        body = {"metadata": {**read, "finalizers": list(finalizers)}}
        await self._patch(f"{SUBNETS.path}/{subnet.name}", body)

    async def _patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a merge patch. Waits for a free slot."""
        async with self._slots:
            if self._http is None or self._http.closed:
                self._http = self._access.session()
            try:
                await call(
                    self._http, "PATCH", f"{self._access.server}{path}", json=body, headers=_MERGE
                )
            except ApiFault as fault:
                if not _is_gone(fault):
                    raise


def _is_gone(fault: ApiFault) -> bool:
    """Return whether the object is gone, or another one has its name.

    Another UID is a conflict or, by the rule that it cannot be changed, an invalid object.
    """
    return fault.status in (404, 409) or (fault.status == 422 and "metadata.uid" in str(fault))
