"""A cluster in memory: API objects, a northbound database, and controllers that lead in turn."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, cast

from kit.memory_northbound import MemoryDatabase, MemoryNorthbound
from kit.recorded import recorded
from ovnlet.controller.http import HttpEndpoints
from ovnlet.controller.wiring import Controller
from ovnlet.core.ipam.claims import NodeClaim
from ovnlet.core.settings import ControllerSettings
from ovnlet.kube.object_store import Store
from ovnlet.kube.session import ApiFault

OVN = "ovn.kubernetes.io"
Body = dict[str, Any]
PATCH = 0.003  # seconds that a patch takes
_PLURALS = {"Subnet": "subnets", "IPPool": "ippools", "ProviderNetwork": "provider-networks"}
# The stores of a controller by kind.
_STORES = {
    "pods": "pods",
    "nodes": "nodes",
    "subnets": "subnets",
    "ippools": "pools",
    "statefulsets": "sets",
    "network-attachment-definitions": "definitions",
    "virtualmachines": "machines",
    "provider-networks": "uplinks.networks",
    "vlans": "uplinks.vlans",
}


async def until(look: Callable[[], object], seconds: float = 10) -> None:
    """Wait, on a fake clock, until ``look`` returns something true. Raise TimeoutError."""
    async with asyncio.timeout(seconds):
        while not look():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.02)


@dataclass
class Cluster:
    """API objects by kind, namespace and name. ``refuse`` fails that many patches with 503.

    ``patches`` counts those of pods.
    """

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    objects: dict[tuple[str, str, str], Body] = field(default_factory=dict)
    terms: list["Term"] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    refuse: int = 0
    patches: int = 0
    _versions: "count[int]" = field(default_factory=lambda: count(1))

    def put(self, kind: str, name: str, namespace: str = "", **body: Any) -> None:
        """Create or replace an object."""
        key = (kind, namespace, name)
        known = self.objects.get(key, {}).get("metadata", {})
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": known.get("uid") or f"uid-{next(self._versions)}",
            "creationTimestamp": known.get("creationTimestamp") or f"{len(self.objects):09d}",
            **body.pop("metadata", {}),
        }
        self._store(kind, {**body, "metadata": meta})

    def pod(self, name: str, node: str = "n0", namespace: str = "default", **asked: str) -> None:
        """Create a pod with annotations of OVN's domain, in all else as an API server has it."""
        annotations = {f"{OVN}/{key}": value for key, value in asked.items()}
        body = recorded("pods", "bound")
        spec, status = body["spec"] | {"nodeName": node}, body["status"]
        meta = {"annotations": annotations}
        self.put("pods", name, namespace, metadata=meta, spec=spec, status=status)

    def subnet(self, name: str, cidr: str, **spec: Any) -> None:
        """Create or edit a Subnet."""
        self.put("subnets", name, spec={"cidrBlock": cidr, **spec})

    def pool(self, name: str, subnet: str, *ips: str) -> None:
        """Create or edit an IPPool."""
        self.put("ippools", name, spec={"subnet": subnet, "ips": list(ips)})

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object."""
        body = self.objects.pop((kind, namespace, name))
        body["metadata"]["resourceVersion"] = str(next(self._versions))
        for term in self.terms:
            store = term.store(kind)
            store.delete(store.read(body))

    def _store(self, kind: str, body: Body) -> None:
        meta = body["metadata"]
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[kind, meta["namespace"], meta["name"]] = body
        for term in self.terms:
            store = term.store(kind)
            store.update(store.read(body))

    async def patch(self, kind: str, owner: tuple[str, str], uid: str, change: Body) -> None:
        """Merge into an object, a moment later. Raise ApiFault while patches are refused."""
        self.patches += kind == "pods"
        await asyncio.sleep(PATCH)
        if self.refuse:
            self.refuse -= 1
            raise ApiFault("PATCH: 503", 503)
        body = self.objects.get((kind, *owner))
        if body is not None and body["metadata"]["uid"] == uid:
            self._store(kind, _merged(body, change))

    def annotations(self, name: str, namespace: str = "default") -> dict[str, str]:
        """Return a pod's annotations without OVN's prefix."""
        found = self.objects["pods", namespace, name]["metadata"].get("annotations") or {}
        return {key.removeprefix(f"{OVN}/"): value for key, value in found.items()}

    def allocated(self) -> dict[str, str]:
        """Return MAC and addresses of every pod that has them, by `namespace/name`."""
        found = {}
        for kind, namespace, name in self.objects:
            if kind == "pods":
                text = self.annotations(name, namespace)
                if text.get("routed") == "true":
                    words = text["mac_address"], *text["ip_address"].split(",")
                    found[f"{namespace}/{name}"] = " ".join(words)
        return found

    def why(self, name: str) -> list[tuple[str, str]]:
        """Return reasons and messages of the Events about an object."""
        return [(reason, text) for about, reason, text in self.events if about == name]


class _Leading:
    """A term that no other replica ends."""

    number = 1

    async def advance(self, least: int, /) -> int:
        """Raise the number."""
        self.number = max(self.number, least)
        return self.number


class Term:
    """One controller that leads: the real one, on the cluster in memory."""

    def __init__(self, cluster: Cluster, **settings: Any) -> None:
        self.cluster = cluster
        given = ControllerSettings.of({"identity": "a", **settings})
        access = cast(Any, SimpleNamespace(server="https://192.0.2.1"))
        self.controller = Controller(given, access, HttpEndpoints("127.0.0.1:0"), _Leading())
        self.northbound = MemoryNorthbound(cluster.database)
        self.northbound.changed = self.controller._row_changed
        made: Any = self.controller
        made.northbound = made.context.northbound = self.northbound
        made.context.writer = MemoryWriter(cluster)
        made.context.record = self._record
        self._tasks: list[asyncio.Task[Any]] = []

    def _record(self, subject: Any, _: str, reason: str, message: str) -> None:
        self.cluster.events.append((subject.name, reason, message))

    def store(self, kind: str) -> Store[Any]:
        """Return the controller's store of a kind."""
        found: Store[Any] = attrgetter(_STORES[kind])(self.controller)
        return found

    async def __aenter__(self) -> "Term":
        """List everything, connect, and begin."""
        self.controller.ports._clock = asyncio.get_running_loop().time
        self.cluster.terms.append(self)
        self.cluster.database.sessions.append(self.northbound)
        for kind in _STORES:
            store = self.store(kind)
            listed = [store.read(b) for key, b in self.cluster.objects.items() if key[0] == kind]
            store.replace(listed, 0)
        for listing in self.controller.resynced:
            listing.asked.set()
        self._tasks.append(asyncio.create_task(self.controller._restore()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it as SIGKILL would: nothing of it runs any more."""
        self.cluster.terms.remove(self)
        self.cluster.database.sessions.remove(self.northbound)
        queue = self.controller.queue
        queue._closed = True
        running = [entry.task for entry in queue._entries.values() if entry.task is not None]
        for entry in queue._entries.values():
            if entry.due is not None:
                entry.due.cancel()
        for task in [*self._tasks, *running]:
            task.cancel()
        await asyncio.gather(*self._tasks, *running, return_exceptions=True)
        self.controller.timers.stop()


class MemoryWriter:
    """Writes to the objects of a ``Cluster``, as ``kube.writer`` does."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def annotate(self, claim: Any, annotations: Any) -> None:
        """Set annotations of a pod or a Node."""
        kind = "nodes" if isinstance(claim, NodeClaim) else "pods"
        change = {"metadata": {"annotations": dict(annotations)}}
        await self._cluster.patch(kind, claim.owner, claim.object_uid, change)

    async def status(self, body: Any, status: Any) -> None:
        """Merge into a status."""
        kind = _PLURALS[body.kind]
        change = {"status": dict(status)}
        await self._cluster.patch(kind, body.owner, body.object_uid, change)

    async def finalizers(self, subnet: Any, finalizers: Any) -> None:
        """Replace a Subnet's finalizers."""
        change = {"metadata": {"finalizers": list(finalizers)}}
        await self._cluster.patch("subnets", subnet.owner, subnet.object_uid, change)


def _merged(body: Any, change: Any) -> Any:
    """Return a JSON merge patch applied (RFC 7396)."""
    if not isinstance(body, dict) or not isinstance(change, dict):
        return change
    merged = {key: _merged(body.get(key), value) for key, value in change.items()}
    return {key: value for key, value in {**body, **merged}.items() if value is not None}
