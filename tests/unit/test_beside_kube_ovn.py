"""Where Kube-OVN's controller is, ovnlet's does not lead, and says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from structlog.testing import capture_logs

from kit.cluster import until
from ovnlet.controller import replica
from ovnlet.controller.http import HttpEndpoints
from ovnlet.core.settings import ControllerSettings
from ovnlet.kube.kube_ovn import KubeOvn
from ovnlet.kube.session import Access

pytestmark = [pytest.mark.review2, pytest.mark.looptime]


class Server:
    """An API server with Kube-OVN's kinds, its Deployment, or neither."""

    server = "https://192.0.2.1"

    def __init__(self, *, vpcs: bool = True, replicas: int | None = 1) -> None:
        self.vpcs, self.replicas = vpcs, replicas
        self.status = 200
        self.events: list[Any] = []

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        yield self

    @asynccontextmanager
    async def request(self, method: str, url: str, **options: Any) -> AsyncIterator[Any]:
        body: Any = {}
        status = self.status
        if url.endswith("/apis/kubeovn.io/v1"):
            kinds = [{"name": "subnets"}, *([{"name": "vpcs"}] if self.vpcs else [])]
            body = {"resources": kinds}
        elif url.endswith("/deployments"):
            assert options["params"] == {"fieldSelector": "metadata.name=kube-ovn-controller"}
            meta = {"namespace": "kube-system", "name": "kube-ovn-controller", "uid": "u"}
            there = {"metadata": meta, "spec": {"replicas": self.replicas}}
            body = {"items": [there] if self.replicas is not None else []}
        elif method == "POST":
            self.events.append(options["json"])

        async def json() -> Any:
            return body

        async def text(**_: Any) -> str:
            return "no"

        yield SimpleNamespace(ok=status < 300, status=status, reason="", json=json, text=text)


@pytest.mark.parametrize(
    ("vpcs", "replicas", "there"),
    [(True, 1, True), (True, 0, False), (True, None, False), (False, 1, False)],
)
async def test_what_counts_as_kube_ovns_controller(
    vpcs: bool, replicas: int | None, there: bool
) -> None:
    server = Server(vpcs=vpcs, replicas=replicas)
    found = await KubeOvn(cast("Access", server)).find()
    assert (found is not None) == there


async def test_without_the_right_to_look_it_counts_as_absent() -> None:
    server = Server()
    server.status = 403
    assert await KubeOvn(cast("Access", server)).find() is None


class Term:
    """A controller that does nothing."""

    running = 0

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self) -> None:
        Term.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            Term.running -= 1


class FreeLease:
    """A Lease that nobody else wants."""

    def __init__(self, *_: Any) -> None:
        pass

    async def acquire(self, *_: Any) -> None:
        return

    async def keep(self) -> None:
        await asyncio.Event().wait()

    async def release(self) -> None:
        return


class FreeDatabase:
    """A northbound database that is always there. A thread would not share the fake clock."""

    def __init__(self, *_: Any) -> None:
        pass

    async def __aenter__(self) -> "FreeDatabase":
        return self

    async def __aexit__(self, *_: object) -> None:
        return


class Probes(HttpEndpoints):
    """The endpoints, without a socket."""

    made: ClassVar[list[HttpEndpoints]] = []

    async def __aenter__(self) -> "Probes":
        self.made[:] = [self]
        return self


async def test_a_replica_does_not_lead_beside_it_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    parts = {"Controller": Term, "Lease": FreeLease, "Probe": FreeDatabase, "HttpEndpoints": Probes}
    for name, value in parts.items():
        monkeypatch.setattr(replica, name, value)
    monkeypatch.setattr(replica, "Access", lambda _, counted: server)
    settings = ControllerSettings.of({"identity": "a"})
    with capture_logs() as logs:
        running = asyncio.create_task(replica.replicate(settings))
        await asyncio.sleep(100)
        (probes,) = Probes.made
        assert not Term.running
        assert "kube-system/kube-ovn-controller" in probes.refusal
        answer = await probes._readiness(cast("Any", None))
        assert (answer.status, answer.text) == (503, probes.refusal)
        assert (await probes._liveness(cast("Any", None))).status == 200
        assert {event["reason"] for event in server.events} == {"NotLeading"}
        assert server.events[0]["involvedObject"]["name"] == "kube-ovn-controller"
        server.replicas = 0
        await until(lambda: Term.running, 35)
        assert not probes.refusal
        server.replicas = 1
        await until(lambda: not Term.running, 35)
        running.cancel()
    assert any(entry["log_level"] == "error" for entry in logs)
