"""Removes what the controller made in the API server and in OVN; the command is `uninstall`.

Order: nobody may lead, and no pod may have an address of ours. Then OVN's rows, the Subnets'
finalizers, the kinds, the annotations of Nodes, and the Lease. A second run removes what a first
one left.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp

from ovnlet.controller.subnets import FINALIZER
from ovnlet.core.annotations import CHASSIS, key
from ovnlet.core.errors import InUse, NotReady
from ovnlet.core.ipam.claims import PROVIDER, Workload
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.removal import remove_rows
from ovnlet.kube import objects
from ovnlet.kube.lease import Lease
from ovnlet.kube.objects import IP_POOLS, NODES, PODS, SUBNETS
from ovnlet.kube.provider_networks import PROVIDER_NETWORKS, VLANS
from ovnlet.kube.session import Access, ApiFault, call

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KUBE_OVN = "vpcs.kubeovn.io"  # a kind that only Kube-OVN brings
_MERGE = {"Content-Type": "application/merge-patch+json"}
# Seconds.
_ANSWER, _GONE, _POLL = 20.0, 30.0, 0.5
_CONFLICT = 409
_NAMED = 3  # pods that a message names
_OF_NODES = (
    CHASSIS,
    *(
        key(PROVIDER, name)
        for name in (
            *("ip_address", "mac_address", "cidr", "gateway", "logical_switch"),
            *("allocated", "port_name"),
        )
    ),
)


async def remove_cluster(
    settings: ControllerSettings, *, cut_off: bool, say: Callable[[str], None]
) -> None:
    """Remove everything, and call ``say`` with each thing removed.

    ``cut_off`` ignores pods that have addresses. Raise InUse before anything is removed. After any
    other error, a second run removes what is left.
    """
    access = Access(settings.kubeconfig)
    async with access.session() as http:
        api = _Api(http, access.server)
        if await api.get(f"{_CRDS}/{_KUBE_OVN}"):
            raise InUse("Kube-OVN's kinds are there: Subnets and their rows are Kube-OVN's to keep")
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases"
        lease = Lease(
            access, settings.namespace, settings.lease, settings.identity, settings.lease_seconds
        )
        if not await api.get(f"{leases}/{settings.lease}"):  # no controller has led yet
            return await _remove(api, settings, cut_off=cut_off, say=say)
        await _lead(lease, settings)
        keeping = asyncio.create_task(lease.keep())
        try:
            await _remove(api, settings, cut_off=cut_off, say=say)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            await lease.release()
        if await api.delete(f"{leases}/{settings.lease}"):
            say(f"removed the Lease {settings.lease}")
        return None


class _Api:
    """Calls to the API server. What is not there is None or False, any other failure ApiFault."""

    def __init__(self, http: aiohttp.ClientSession, server: str) -> None:
        self._http, self._server = http, server

    async def get(self, path: str) -> Any:
        return await self._call("GET", path)

    async def items(self, path: str) -> list[dict[str, Any]]:
        return ((await self.get(path)) or {}).get("items") or []

    async def patch(self, path: str, body: Mapping[str, Any]) -> bool:
        return await self._call("PATCH", path, json=body, headers=_MERGE) is not None

    async def delete(self, path: str) -> bool:
        return await self._call("DELETE", path) is not None

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            return await call(self._http, method, f"{self._server}{path}", **options)
        except ApiFault as fault:
            if fault.status == 404:
                return None
            raise


async def _lead(lease: Lease, settings: ControllerSettings) -> None:
    """Take the Lease, so that no controller writes again what is removed. Raise InUse.

    The Lease of a controller that ended without notice is free after its whole duration.
    """
    try:
        async with asyncio.timeout(settings.lease_seconds * 1.5 + 1):
            await lease.acquire()
    except TimeoutError:
        raise InUse(
            f"the controller {lease.leader} leads: delete its Deployment first, "
            "it would bring everything back"
        ) from None


async def _remove(
    api: _Api, settings: ControllerSettings, *, cut_off: bool, say: Callable[[str], None]
) -> None:
    subnets = await api.items(SUBNETS.path)
    if not cut_off and (users := _users(await api.items(PODS.path), subnets)):
        raise InUse(users)
    for row in await asyncio.to_thread(remove_rows, settings, _ANSWER):
        say(f"removed {row}")
    for subnet in subnets:
        await _release(api, subnet["metadata"]["name"], say)
    for kind in (SUBNETS, IP_POOLS, VLANS, PROVIDER_NETWORKS):
        await _remove_kind(api, f"{kind.plural}.{kind.group}", kind.path, say)
    for node in await api.items(NODES.path):
        await _clear_node(api, node["metadata"], say)


def _users(pods: Iterable[Mapping[str, Any]], subnets: Iterable[Mapping[str, Any]]) -> str:
    """Return which Subnets are in use, and by which pods; an empty text if none is."""
    names = {subnet["metadata"]["name"] for subnet in subnets}
    users: dict[str, list[str]] = {}
    for body in pods:
        if (pod := objects.workload(body)) is None:
            continue
        for subnet in _subnets_of(pod) & names:
            users.setdefault(subnet, []).append("/".join(pod.owner))
    texts = []
    for subnet, owners in sorted(users.items()):
        rest = f" and {len(owners) - _NAMED} more" if len(owners) > _NAMED else ""
        texts.append(f"Subnet {subnet} is used by {', '.join(sorted(owners)[:_NAMED])}{rest}")
    advice = "; delete or drain the pods, or give --cut-off"
    return "; ".join(texts) + advice if texts else ""


def _subnets_of(pod: Workload) -> set[str]:
    """Return the Subnets of which a pod that has not ended has addresses, in any network."""
    name = "/logical_switch"
    return {
        text
        for each, text in ({} if pod.finished else pod.annotations).items()
        if each.endswith(name) and f"{each.removesuffix(name)}/allocated" in pod.annotations
    }


async def _release(api: _Api, subnet: str, say: Callable[[str], None]) -> None:
    """Remove our finalizer from a Subnet, in the version read, so that no other's is lost."""
    path = f"{SUBNETS.path}/{subnet}"
    while body := await api.get(path):
        meta = body["metadata"]
        held = meta.get("finalizers") or ()
        if FINALIZER not in held:
            return
        kept = [each for each in held if each != FINALIZER]
        read = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        try:
            if await api.patch(path, {"metadata": {**read, "finalizers": kept}}):
                return say(f"released the Subnet {subnet}")
        except ApiFault as fault:
            if fault.status != _CONFLICT:
                raise


async def _remove_kind(api: _Api, name: str, path: str, say: Callable[[str], None]) -> None:
    """Delete a kind with its objects, and wait until it is gone.

    Raise NotReady, with what holds it, if it is not gone in time.
    """
    if not await api.delete(f"{_CRDS}/{name}"):
        return
    try:
        async with asyncio.timeout(_GONE):
            while await api.get(f"{_CRDS}/{name}"):  # noqa: ASYNC110 - the API server sends no hint
                await asyncio.sleep(_POLL)
    except TimeoutError:
        held = [
            f"{each['metadata']['name']} ({', '.join(each['metadata'].get('finalizers') or ())})"
            for each in await api.items(path)
        ]
        raise NotReady(
            f"{name} is not deleted yet: finalizers of others hold {', '.join(held) or 'it'}"
        ) from None
    say(f"removed the kind {name}")


async def _clear_node(api: _Api, meta: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Remove our annotations from a Node."""
    ours = {name: None for name in _OF_NODES if name in (meta.get("annotations") or {})}
    if ours:
        body = {"metadata": {"annotations": ours}}
        if await api.patch(f"{NODES.path}/{meta['name']}/status", body):
            say(f"removed our annotations of Node {meta['name']}")
