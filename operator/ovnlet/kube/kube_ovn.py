"""Whether Kube-OVN's own controller is in the cluster.

Both controllers write the same Subnets, annotations and logical ports: each would undo what the
other one does.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from ovnlet.kube.session import Access, ApiFault, call, is_transient

GROUP, VPCS, DEPLOYMENT = "/apis/kubeovn.io/v1", "vpcs", "kube-ovn-controller"
CHECK_INTERVAL = 30.0  # seconds
RETRY = 2.0  # seconds, after an API server that gave no answer
log = structlog.get_logger("kube_ovn")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Kube-OVN's Deployment, as the subject of an Event."""

    kind: ClassVar[str] = "Deployment"
    api_version: ClassVar[str] = "apps/v1"

    namespace: str
    name: str
    object_uid: str

    @property
    def why(self) -> str:
        """The reason why ovnlet's controller does not lead."""
        return (
            f"Kube-OVN's controller is in this cluster (Deployment {self.namespace}/{self.name}): "
            "ovnlet's controller does not lead beside it. Remove one of the two"
        )


class KubeOvn:
    """The search for Kube-OVN's controller.

    It is there if the cluster serves its Vpc kind and has its Deployment with at least one replica.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def find(self) -> Deployment | None:
        """Return its Deployment, or None. Without the right to look, it counts as absent.

        Retries without end while the API server gives no answer.
        """
        while True:
            try:
                return await self._find()
            except ApiFault as fault:
                if not is_transient(fault):
                    log.warning("cannot look for Kube-OVN's controller", error=str(fault))
                    return None
            await asyncio.sleep(RETRY)

    async def wait(self, until: Callable[[Deployment | None], bool]) -> None:
        """Look now and every 30 s, until ``until`` returns True for what is seen."""
        while not until(await self.find()):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(CHECK_INTERVAL)

    async def _find(self) -> Deployment | None:
        """Return its Deployment, or None. Raises ApiFault."""
        async with self._access.session() as http:
            try:
                served = await call(http, "GET", f"{self._access.server}{GROUP}")
            except ApiFault as fault:
                if fault.status == 404:
                    return None
                raise
            if VPCS not in {each.get("name") for each in served.get("resources") or ()}:
                return None
            url = f"{self._access.server}/apis/apps/v1/deployments"
            query = {"fieldSelector": f"metadata.name={DEPLOYMENT}"}
            listed = await call(http, "GET", url, params=query)
        running = filter(_is_running, listed.get("items") or ())
        return next((_read(body) for body in running), None)


def _is_running(body: dict[str, Any]) -> bool:
    return bool((body.get("spec") or {}).get("replicas", 1))


def _read(body: dict[str, Any]) -> Deployment:
    meta = body["metadata"]
    return Deployment(meta["namespace"], meta["name"], meta["uid"])
