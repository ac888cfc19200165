"""The node in Kube-OVN's `IP` objects of pods that are attached here, as kube-ovn-cni writes it.

Its controller makes the object when it allocates; one of a virtual machine, or of a StatefulSet's
pod, outlives the pod and names the node before. kube-ovn-cni waits up to 20 s for the object while
the pod waits for its ADD, and goes on without it. Here the ADD is answered, and the rest follows.
"""

import asyncio
from dataclasses import dataclass

import aiohttp
import structlog

from ovnlet.kube.session import Access, ApiFault, call

# Tries, and seconds between them: kube-ovn-cni's.
_TRIES, _EVERY = 20, 1.0
_KIND, _NODE_LABEL = "/apis/kubeovn.io/v1/ips", "ovn.kubernetes.io/node-name"
_HEADERS = {"Content-Type": "application/merge-patch+json"}
_FORBIDDEN = 403
log = structlog.get_logger("ip objects")


@dataclass(slots=True)
class _Wanted:
    subnet: str
    tries: int = _TRIES


class IpObjects:
    """Writes the node into objects, one after the other. ``attached`` returns at once."""

    def __init__(self, access: Access, node: str) -> None:
        self._access, self._node = access, node
        self._wanted: dict[str, _Wanted] = {}
        self._changed = asyncio.Event()

    def attached(self, name: str, subnet: str) -> None:
        """Note that the pod of this object is here. The object has the name of its logical port."""
        self._wanted[name] = _Wanted(subnet)
        self._changed.set()

    async def run(self) -> None:
        """Write what is noted. Returns only when cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._wanted:
                try:
                    async with self._access.session() as http:
                        for name, wanted in list(self._wanted.items()):
                            await self._try(http, name, wanted)
                except ApiFault as fault:
                    log.warning("the API server cannot be reached", error=str(fault))
                if self._wanted:
                    await asyncio.sleep(_EVERY)

    async def _try(self, http: aiohttp.ClientSession, name: str, wanted: _Wanted) -> None:
        """Write an object. Forget it after that, after the last try, and without the right."""
        wanted.tries -= 1
        try:
            await self._write(http, name, wanted.subnet)
        except ApiFault as fault:
            if wanted.tries and fault.status != _FORBIDDEN:
                return
            log.warning("the node is not in an IP object", object=name, error=str(fault))
        if self._wanted.get(name) is wanted:
            del self._wanted[name]

    async def _write(self, http: aiohttp.ClientSession, name: str, subnet: str) -> None:
        """Patch the object if it names another node. Raise ApiFault."""
        url = f"{self._access.server}{_KIND}/{name}"
        found = await call(http, "GET", url)
        if (found.get("spec") or {}).get("nodeName") == self._node:
            return
        labels = {_NODE_LABEL: self._node} | ({subnet: ""} if subnet else {})
        body = {"metadata": {"labels": labels}, "spec": {"nodeName": self._node}}
        await call(http, "PATCH", url, json=body, headers=_HEADERS)
        log.info("the node is written into an IP object", object=name)
