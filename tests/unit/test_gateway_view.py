"""When the agent reports the cluster to the gateway: once it was listed, and what changed."""

import asyncio
from ipaddress import ip_network
from typing import Any, cast

from kit.injection import Injection
from kit.parts_of_kube import Api
from ovnlet.agent.node import SOON, ClusterView, Subscriber
from ovnlet.core.settings import Settings

PREFIXES = frozenset(map(ip_network, ("10.16.0.0/16", "fd00:10:16::/64")))


def body(name: str, version: int = 1, **rest: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": f"u-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, **rest}


def node(name: str, address: str, version: int = 1) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": address}]
    return body(name, version, status={"addresses": addresses})


async def test_it_is_reported_once_all_kinds_were_listed_and_again_when_one_changes() -> None:
    settings = Settings.model_validate(
        {"node_name": "n0", "cluster_cidrs": ",".join(map(str, PREFIXES))}
    )
    access = cast("Any", Api(Injection("ENOSPC", 0)))
    view = ClusterView(settings, access, cast("Any", None))
    texts: list[dict[str, str]] = []
    ignored = cast("Any", lambda *_: None)
    report = cast("Any", texts.append)
    view.subscribe(Subscriber(ignored, ignored, report, ignored))
    (part,) = (part for part in view.parts() if part.name == "gateway")
    running = asyncio.ensure_future(cast("Any", part.run()))
    view.nodes.update(view.nodes.read(node("n1", "192.0.2.8")))
    view.subnets.update(view.subnets.read(body("one", spec={"cidrBlock": "10.17.0.0/16"})))
    view.subnets.complete.set()
    view.services.complete.set()
    view.nodes.complete.set()
    await asyncio.sleep(2 * SOON)
    assert texts == [], "the agent's own Node is not known"
    view.nodes.update(view.nodes.read(node("n0", "192.0.2.7")))
    await asyncio.sleep(2 * SOON)
    (first,) = texts
    assert first["inside"] == "10.16.0.0/16,fd00:10:16::/64"
    assert (first["internal"], first["peers"]) == ("192.0.2.7", "192.0.2.8")
    view.nodes.update(view.nodes.read(node("n1", "192.0.2.9", 2)))
    await asyncio.sleep(2 * SOON)
    assert [each["peers"] for each in texts] == ["192.0.2.8", "192.0.2.9"]
    running.cancel()
