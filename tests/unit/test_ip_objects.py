"""The node in Kube-OVN's IP objects: written once, never waited for. On a fake clock."""

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ovnlet.kube import ip_objects
from ovnlet.kube.ip_objects import IpObjects
from ovnlet.kube.session import Access, ApiFault

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
NAME, NODE = "web-0.shop", "n1"


class Server:
    """An API server with objects by name, each with its node; ``status`` fails each request."""

    server = "https://192.0.2.1"

    def __init__(self, **nodes: str) -> None:
        self.nodes: dict[str, str] = {name.replace("_", "."): node for name, node in nodes.items()}
        self.patches: list[Mapping[str, Any]] = []
        self.asked, self.status = 0, 0

    @asynccontextmanager
    async def session(self) -> Any:
        """Open a connection."""
        yield self

    async def call(self, _: Any, method: str, url: str, **options: Any) -> Any:
        """Answer a request."""
        self.asked += 1
        name = url.rpartition("/ips/")[2]
        if self.status or name not in self.nodes:
            raise ApiFault(f"{method} {name}", self.status or 404)
        if method == "PATCH":
            self.patches.append(options["json"])
            self.nodes[name] = options["json"]["spec"]["nodeName"]
        return {"spec": {"nodeName": self.nodes[name]}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server that is asked in the place of the real one."""
    server = Server()
    monkeypatch.setattr(ip_objects, "call", server.call)
    return server


async def attached(server: Server, seconds: float) -> None:
    """Attach the pod, and let the objects be written for that long."""
    objects = IpObjects(cast("Access", server), NODE)
    task = asyncio.create_task(objects.run())
    objects.attached(NAME, "ovn-default")
    await asyncio.sleep(seconds)
    assert not task.done()
    task.cancel()


async def test_an_object_that_names_another_node_is_patched_as_kube_ovn_cni_does(
    server: Server,
) -> None:
    server.nodes[NAME] = "n0"
    await attached(server, 5)
    labels = {"ovn.kubernetes.io/node-name": NODE, "ovn-default": ""}
    assert server.patches == [{"metadata": {"labels": labels}, "spec": {"nodeName": NODE}}]


async def test_one_that_names_this_node_is_only_read(server: Server) -> None:
    server.nodes[NAME] = NODE
    await attached(server, 5)
    assert (server.asked, server.patches) == (1, [])


async def test_one_that_comes_late_is_tried_each_second_at_most_twenty_times(
    server: Server,
) -> None:
    with capture_logs() as logs:
        await attached(server, 120)
    assert server.asked == 20
    assert [entry["object"] for entry in logs if entry["log_level"] == "warning"] == [NAME]


async def test_without_the_right_it_is_tried_once(server: Server) -> None:
    server.status = 403
    await attached(server, 120)
    assert server.asked == 1
