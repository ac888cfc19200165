"""The agent's parts that speak with the API server, on one in memory, for fault injection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kit.injection import Injection
from ovnlet.agent.node import ClusterView, Subscriber
from ovnlet.core.identity import Pod
from ovnlet.kube.chassis_name import ChassisName
from ovnlet.kube.events import Recorder
from ovnlet.kube.kopf_runner import KopfRunner
from ovnlet.kube.object_store import Store
from ovnlet.kube.objects import OwnNode
from ovnlet.kube.pods import of_node, read
from ovnlet.kube.relist import Relist

IP = "ovn.kubernetes.io/ip_address"
Patch = pytest.MonkeyPatch


class Api:
    """An API server in memory: answers every request, and counts those of each method."""

    server = "https://192.0.2.1"

    def __init__(self, injection: Injection) -> None:
        self.session = injection.wrap(self._session)
        self._answer = injection.wrap(self._answer_request)
        self.answered: dict[str, int] = {}
        self.version = 1

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Any]:
        yield self

    @asynccontextmanager
    async def request(self, method: str, _: str, **__: Any) -> AsyncIterator[Any]:
        """Answer a LIST with a pod of a new version, and anything else with nothing."""
        yield await self._answer(method)

    async def _answer_request(self, method: str) -> Any:
        self.version += 1
        self.answered[method] = self.answered.get(method, 0) + 1
        version = str(self.version)
        meta = {"namespace": "default", "name": "web", "uid": "u", "resourceVersion": version}
        pod = {"metadata": {**meta, "annotations": {IP: version}}, "spec": {}}

        async def json() -> Any:
            return {"metadata": {"resourceVersion": version}, "items": [pod]}

        return SimpleNamespace(ok=True, json=json)

    def count(self, method: str) -> int:
        """Return how many requests of this method were answered."""
        return self.answered.get(method, 0)


class ListOfPods:
    """Our own LIST, into a store whose follower may fail too."""

    def __init__(self, injection: Injection, _: Patch) -> None:
        self.changes = 0
        self.api = Api(injection)
        store = Store(of_node("n0"), read, injection.wrap(self._changed))
        self.relist = Relist(cast("Any", self.api), store)
        self.run = self.relist.run
        self.poke = self.relist.request

    def _changed(self, _: Any, __: Any) -> None:
        self.changes += 1

    def works(self) -> int:
        """Return the number of changes that were taken: each list has one."""
        return self.changes


class Events:
    """The sender of Events."""

    def __init__(self, injection: Injection, _: Patch) -> None:
        self.api, self.number = Api(injection), 0
        self.recorder = Recorder(cast("Any", self.api), "n0")
        self.run = self.recorder.run

    def poke(self) -> None:
        """Record an Event about another pod."""
        self.number += 1
        pod = Pod("default", f"p{self.number}", f"u{self.number}", {}, f"u{self.number}")
        self.recorder.record(pod, "Normal", "Tried", "x")

    def works(self) -> int:
        """Return the number of Events that were created."""
        return self.api.count("POST")


class NodeAnnotation:
    """The patcher of the own Node."""

    def __init__(self, injection: Injection, _: Patch) -> None:
        self.api, self.number = Api(injection), 0
        self.name = ChassisName(cast("Any", self.api), "n0")
        self.name.seen(OwnNode("n0", "u"))
        self.run = self.name.run

    def poke(self) -> None:
        """Want another value."""
        self.number += 1
        self.name.want(f"chassis-{self.number}")

    def works(self) -> int:
        """Return the number of patches."""
        return self.api.count("PATCH")


class ApiWatch:
    """kopf's runner; what it runs in its thread ends at once."""

    def __init__(self, injection: Injection, _: Patch) -> None:
        self.runs = 0
        relist = Relist(cast("Any", Api(Injection("ENOSPC", 0))), _store())
        patch_request = injection.wrap(relist.request)
        relist.request = patch_request  # type: ignore[method-assign]
        runner = KopfRunner(cast("Any", None), "n0", [relist])
        runner._run_once = injection.wrap(self._run_once)  # type: ignore[method-assign]
        self.run = runner.run

    async def _run_once(self) -> tuple[bool, None]:
        self.runs += 1
        await asyncio.sleep(1)
        return True, None

    def poke(self) -> None:
        """Nothing: kopf ends by itself."""

    def works(self) -> int:
        """Return the number of times that kopf ran."""
        return self.runs


class Prefixes:
    """The report of the cluster's prefixes once all Subnets are known; it returns then."""

    def __init__(self, injection: Injection, _: Patch) -> None:
        self.reports = 0
        settings = SimpleNamespace(
            node_name="n0",
            clusters=frozenset(),
            cluster_router="ovn-cluster",
            chassis="manage",
            kube_ovn_socket=None,
        )
        access = cast("Any", Api(Injection("ENOSPC", 0)))
        self.view = ClusterView(cast("Any", settings), access, cast("Any", None))
        ignored = cast("Any", lambda _: None)
        rest = (ignored,) * 2
        self.view.subscribe(Subscriber(ignored, injection.wrap(self._reached), *rest))
        (self.run,) = (part.run for part in self.view.parts() if part.name == "prefixes")

    def _reached(self, _: Any) -> None:
        self.reports += 1

    def poke(self) -> None:
        """Complete the list of Subnets."""
        self.view.subnets.complete.set()

    def works(self) -> int:
        """Return the number of reports."""
        return self.reports


def _store() -> Store[Pod]:
    return Store(of_node("n0"), read, lambda _was, _now: None)
