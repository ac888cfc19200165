"""The administrator's client: what a test changes in the API server and OVN, and reads back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import aiohttp

from testbed.bed import Bed

OVN = "ovn.kubernetes.io"
SUBNETS = "/apis/kubeovn.io/v1/subnets"
NETWORKS = "/apis/kubeovn.io/v1/provider-networks"
VLANS = "/apis/kubeovn.io/v1/vlans"
POOLS = "/apis/kubeovn.io/v1/ippools"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
SERVICES = "/api/v1/namespaces/default/services"
# Kubernetes 1.20 has only the older version.
SLICES = "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices"
SLICE_OF = "kubernetes.io/service-name"
PODS = "/api/v1/namespaces/default/pods"
MERGE = {"Content-Type": "application/merge-patch+json"}
Object = dict[str, Any]


async def until(
    look: Callable[[], Awaitable[Any]], within: float, what: str, every: float = 0.05
) -> float:
    """Wait until ``look`` returns true, and return the seconds that took."""
    began = monotonic()
    while not await look():
        assert monotonic() - began < within, f"{what}: not within {within:g} s"
        await asyncio.sleep(every)
    return monotonic() - began


class ClusterAdmin:
    """An administrator's HTTP client; faster than a kubectl for each call."""

    def __init__(self, http: aiohttp.ClientSession, bed: Bed) -> None:
        self._http, self.bed = http, bed

    async def do(self, method: str, path: str, **options: Any) -> Object:
        async with self._http.request(method, path, **options) as answer:
            body: Object = await answer.json()
            assert answer.ok, body
            return body

    async def subnet(self, name: str, cidr: str, **spec: Any) -> Object:
        body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}}
        return await self.do("POST", SUBNETS, json={**body, "spec": {"cidrBlock": cidr, **spec}})

    async def pool(self, name: str, subnet: str, *ips: str) -> Object:
        body = {"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": name}}
        return await self.do(
            "POST", POOLS, json={**body, "spec": {"subnet": subnet, "ips": list(ips)}}
        )

    async def edit_pool(self, name: str, *ips: str) -> None:
        await self.do("PATCH", f"{POOLS}/{name}", json={"spec": {"ips": list(ips)}}, headers=MERGE)

    async def edit_subnet(self, name: str, **spec: Any) -> None:
        await self.do("PATCH", f"{SUBNETS}/{name}", json={"spec": spec}, headers=MERGE)

    async def subnet_status(self, name: str) -> Object:
        status: Object = (await self.do("GET", f"{SUBNETS}/{name}")).get("status") or {}
        return status

    async def condition(self, name: str, kind: str) -> Object:
        conditions = (await self.subnet_status(name)).get("conditions") or []
        return next((each for each in conditions if each["type"] == kind), {})

    async def ready(self, name: str) -> None:
        async def look() -> bool:
            return (await self.condition(name, "Ready")).get("status") == "True"

        await until(look, 60, f"subnet {name} ready")

    async def node(self, name: str, *internal: str) -> None:
        addresses = [{"type": "InternalIP", "address": address} for address in internal]
        await self.do("POST", "/api/v1/nodes", json={"metadata": {"name": name}})
        await self.do(
            "PATCH",
            f"/api/v1/nodes/{name}/status",
            json={"status": {"addresses": addresses}},
            headers=MERGE,
        )

    async def pod(
        self, name: str, node: str = "n0", owner: Object | None = None, **annotations: str
    ) -> Object:
        meta: Object = {
            "name": name,
            "annotations": {f"{OVN}/{key}": value for key, value in annotations.items()},
        }
        if owner is not None:
            meta["ownerReferences"] = [owner]
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "x"}]}
        return await self.do("POST", PODS, json={"metadata": meta, "spec": spec})

    async def pods(self, names: Iterable[str], nodes: tuple[str, ...] = ("n0", "n1")) -> None:
        await asyncio.gather(
            *(self.pod(name, nodes[number % len(nodes)]) for number, name in enumerate(names))
        )

    async def stateful_set(self, name: str, replicas: int) -> Object:
        """Create it, without pods, and return the owner reference for its pods."""
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
        spec = {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": template,
        }
        made = await self.do("POST", SETS, json={"metadata": {"name": name}, "spec": spec})
        uid = made["metadata"]["uid"]
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": name,
            "uid": uid,
            "controller": True,
        }

    async def scale(self, name: str, replicas: int) -> None:
        await self.do(
            "PATCH", f"{SETS}/{name}", json={"spec": {"replicas": replicas}}, headers=MERGE
        )

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        """Yield a watch on ``path``: one line for each change from now on."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._http.get(path, params={"watch": "true"}, timeout=timeout) as answer:
            yield answer.content

    async def delete(self, name: str) -> None:
        await self.do("DELETE", f"{PODS}/{name}", params={"gracePeriodSeconds": "0"})

    async def finish(self, name: str) -> None:
        await self.do(
            "PATCH", f"{PODS}/{name}/status", json={"status": {"phase": "Succeeded"}}, headers=MERGE
        )

    async def annotate(self, name: str, **annotations: str | None) -> None:
        change = {
            "metadata": {
                "annotations": {f"{OVN}/{key}": value for key, value in annotations.items()}
            }
        }
        await self.do("PATCH", f"{PODS}/{name}", json=change, headers=MERGE)

    async def annotations(self, name: str) -> dict[str, str]:
        """Return the pod's annotations in OVN's domain, with that prefix removed."""
        return _annotations(await self.do("GET", f"{PODS}/{name}"))

    async def all_annotations(self) -> dict[str, dict[str, str]]:
        return {
            pod["metadata"]["name"]: _annotations(pod)
            for pod in (await self.do("GET", PODS))["items"]
        }

    async def allocated(self, *names: str, within: float = 20) -> dict[str, str]:
        """Wait until each of these pods is allocated, and return their addresses."""

        async def look() -> bool:
            known = await self.all_annotations()
            return all(known.get(name, {}).get("routed") == "true" for name in names)

        await until(look, within, f"{', '.join(names[:3])} allocated")
        known = await self.all_annotations()
        return {name: known[name]["ip_address"] for name in names}

    async def events(self, name: str) -> list[tuple[str, str]]:
        selector = {"fieldSelector": f"involvedObject.name={name}"}
        found = (await self.do("GET", "/api/v1/namespaces/default/events", params=selector))[
            "items"
        ]
        return [(event["reason"], event["message"]) for event in found]

    async def event(self, name: str, reason: str, *words: str, within: float = 30) -> str:
        """Wait for an Event of this reason that contains all of ``words``; return its message."""
        found: list[str] = []

        async def look() -> bool:
            found[:] = [
                m
                for r, m in await self.events(name)
                if r == reason and all(word in m for word in words)
            ]
            return bool(found)

        await until(look, within, f"an Event {reason} of {name} with {words}")
        return found[0]

    async def nbctl(self, *words: str) -> str:
        return await asyncio.to_thread(self.bed.nbctl, *words)

    async def ports(self) -> dict[str, Object]:
        """Return the pods' logical switch ports by name."""
        columns = "name,addresses,dynamic_addresses,port_security,enabled,options,external_ids,type"
        listed = json.loads(
            await self.nbctl("--format=json", f"--columns={columns}", "list", "logical_switch_port")
        )
        rows = [
            dict(zip(listed["headings"], map(_plain, row), strict=True)) for row in listed["data"]
        ]
        return {row["name"]: row for row in rows if row["type"] == ""}

    async def wipe(self) -> None:
        """Delete everything in the northbound database."""
        await asyncio.to_thread(self.bed.wipe_northbound)

    async def sweep(self) -> None:
        grace = {"gracePeriodSeconds": "0"}
        for path in (PODS, SETS, "/api/v1/namespaces/default/events"):
            await self.do("DELETE", path, params=grace)
        for service in (await self.do("GET", SERVICES))["items"]:
            if service["metadata"]["name"] != "kubernetes":
                await self.do("DELETE", f"{SERVICES}/{service['metadata']['name']}")
        await self.do("DELETE", SLICES, params={"labelSelector": f"{SLICE_OF}!=kubernetes"})
        await self.do("DELETE", "/api/v1/nodes")
        await self.do("DELETE", "/apis/coordination.k8s.io/v1/namespaces/ovnlet-system/leases")
        for subnet in (await self.do("GET", SUBNETS))["items"]:
            name = subnet["metadata"]["name"]
            await self.do(
                "PATCH", f"{SUBNETS}/{name}", json={"metadata": {"finalizers": None}}, headers=MERGE
            )
        for path in (POOLS, VLANS, NETWORKS):
            await self.do("DELETE", path)
        await self.do("DELETE", SUBNETS)
        await self.wipe()


def _annotations(body: Object) -> dict[str, str]:
    every: dict[str, str] = body["metadata"].get("annotations") or {}
    return {
        key.removeprefix(f"{OVN}/"): value
        for key, value in every.items()
        if key.startswith(f"{OVN}/")
    }


def _plain(value: Any) -> Any:
    match value:
        case ["set", items]:
            return items
        case ["map", pairs]:
            return dict(pairs)
        case _:
            return value
