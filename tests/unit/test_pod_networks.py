"""A pod's further networks: allocated by name, kept, added while it runs, and released."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kit.cluster import Cluster, Term, until
from ovnlet.core.ipam.networks import NETWORKS

pytestmark = [pytest.mark.looptime]
N1, NADS = "n1.default.ovn", "network-attachment-definitions"
DUAL, SECOND = "10.16.0.0/16,fd00:10:16::/64", "10.17.0.0/24,fd00:10:17::/64"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    cluster.put("nodes", "n0")
    cluster.subnet("ovn-default", DUAL, default=True)
    cluster.subnet("second", SECOND, provider=N1)
    define(cluster)
    async with Term(cluster, cool_down=0):
        yield cluster


def define(cluster: Cluster, name: str = "n1", **config: Any) -> None:
    whole = {"type": "ovnlet", "provider": f"{name}.default.ovn", **config}
    cluster.put(NADS, name, "default", spec={"config": json.dumps(whole)})


def put(
    cluster: Cluster,
    listed: object,
    name: str = "web",
    owner: dict[str, Any] | None = None,
    **annotations: str,
) -> None:
    """Create a pod, or edit its list of networks."""
    known = cluster.objects.get(("pods", "default", name), {"metadata": {}})["metadata"]
    text = listed if isinstance(listed, str) else json.dumps(listed)
    every = {**known.get("annotations", {}), NETWORKS: text, **annotations}
    meta = {"annotations": every, "ownerReferences": [owner] if owner else []}
    cluster.put("pods", name, "default", metadata=meta, spec={"nodeName": "n0"})


def facts(cluster: Cluster, provider: str, name: str = "web") -> dict[str, str]:
    """Return the annotations of one network by their short names."""
    every = cluster.objects["pods", "default", name]["metadata"]["annotations"]
    domain = f"{provider}.kubernetes.io/"
    return {key.removeprefix(domain): text for key, text in every.items() if key.startswith(domain)}


async def allocated(cluster: Cluster, *providers: str, name: str = "web") -> None:
    await until(lambda: all(facts(cluster, p, name).get("routed") == "true" for p in providers))


def ports(cluster: Cluster) -> set[str]:
    return {each.name for each in cluster.database.strict.every_port() if "web" in each.name}


async def test_each_network_gets_its_port_and_its_annotations(cluster: Cluster) -> None:
    listed = [{"name": "n1", "interface": each} for each in ("net1", "net2")]
    put(cluster, listed)
    await allocated(cluster, "ovn", f"{N1}.net1", f"{N1}.net2")
    assert facts(cluster, "ovn")["logical_switch"] == "ovn-default"
    found = [facts(cluster, f"{N1}.{each}") for each in ("net1", "net2")]
    assert {each["logical_switch"] for each in found} == {"second"}
    assert all(each["ip_address"].startswith("10.17.0.") for each in found)
    assert len({each["mac_address"] for each in found}) == 2
    assert ports(cluster) == {
        "web.default", f"web.default.{N1}.net1", f"web.default.{N1}.net2"
    }  # fmt: skip
    cluster.delete("pods", "web", "default")
    await until(lambda: not ports(cluster))


async def test_a_static_address_of_the_list_is_given(cluster: Cluster) -> None:
    put(cluster, [{"name": "n1", "ips": ["10.17.0.77/24"], "mac": "0a:00:00:00:00:77"}])
    await allocated(cluster, N1)
    found = facts(cluster, N1)
    assert found["ip_address"].startswith("10.17.0.77,fd00:10:17:")
    assert found["mac_address"] == "0a:00:00:00:00:77"


async def test_a_second_interface_added_to_a_running_pod(cluster: Cluster) -> None:
    """In Kube-OVN the first interface's port is then renamed, and the interface is cut off."""
    first = {"name": "n1", "interface": "net1"}
    put(cluster, [first])
    await allocated(cluster, N1)
    before = facts(cluster, N1)
    put(cluster, [first, {"name": "n1", "interface": "net2"}])
    await allocated(cluster, f"{N1}.net2")
    assert facts(cluster, N1) == before
    assert ports(cluster) == {"web.default", f"web.default.{N1}", f"web.default.{N1}.net2"}


async def test_a_network_that_is_listed_no_more_is_released(cluster: Cluster) -> None:
    listed = [{"name": "n1", "interface": each} for each in ("net1", "net2")]
    put(cluster, listed)
    await allocated(cluster, f"{N1}.net1", f"{N1}.net2")
    kept = facts(cluster, f"{N1}.net1")
    put(cluster, listed[:1])
    await until(lambda: ports(cluster) == {"web.default", f"web.default.{N1}.net1"})
    await until(lambda: not facts(cluster, f"{N1}.net2"))
    assert facts(cluster, f"{N1}.net1") == kept
    put(cluster, listed)
    await allocated(cluster, f"{N1}.net2")


async def test_a_network_that_a_stateful_sets_pod_lists_no_more_is_released(
    cluster: Cluster,
) -> None:
    """Its port is kept only while the pod itself is away."""
    cluster.put("statefulsets", "web", "default", spec={"replicas": 1})
    owner = {"kind": "StatefulSet", "name": "web", "controller": True}
    put(cluster, "n1", "web-0", owner=owner)
    await allocated(cluster, N1, name="web-0")
    put(cluster, "", "web-0", owner=owner)
    await until(lambda: ports(cluster) == {"web-0.default"})


async def test_what_is_listed_in_vain_is_reported_once(cluster: Cluster) -> None:
    put(cluster, "n9")
    await asyncio.sleep(30)
    assert [reason for reason, _ in cluster.why("web")] == ["NetworkUnknown"]


async def test_a_definition_that_comes_late_or_goes(cluster: Cluster) -> None:
    cluster.subnet("third", "10.18.0.0/24", provider="n3.default.ovn")
    put(cluster, "n3")
    await until(lambda: cluster.why("web"))
    assert cluster.why("web")[0][0] == "NetworkUnknown"
    define(cluster, "n3")
    await allocated(cluster, "n3.default.ovn")
    cluster.delete(NADS, "n3", "default")
    put(cluster, "n3", touched="1")
    put(cluster, "n3,n1")
    await allocated(cluster, N1)
    assert f"web.default.{N1}" in ports(cluster)
    assert "web.default.n3.default.ovn" in ports(cluster), "a running interface keeps its port"


async def test_a_broken_list_takes_nothing_from_a_running_pod(cluster: Cluster) -> None:
    put(cluster, "n1")
    await allocated(cluster, N1)
    put(cluster, "[n1")
    await until(lambda: "InvalidAnnotation" in {reason for reason, _ in cluster.why("web")})
    assert ports(cluster) == {"web.default", f"web.default.{N1}"}
    assert facts(cluster, N1)["allocated"] == "true"


async def test_a_network_without_a_subnet_is_reported(cluster: Cluster) -> None:
    define(cluster, "n4")
    put(cluster, "n4")
    await allocated(cluster, "ovn")
    await until(
        lambda: (
            ("NoSubnet", "no Subnet has provider n4.default.ovn or the name asked for")
            in cluster.why("web")
        )
    )
    cluster.subnet("fourth", "10.19.0.0/24", provider="n4.default.ovn")
    await allocated(cluster, "n4.default.ovn")


async def test_a_pod_cannot_be_named_into_another_ones_port(cluster: Cluster) -> None:
    """Namespace `ovn` and a pod with dots spell the port of a network of another pod."""
    put(cluster, "n1")
    await allocated(cluster, N1)
    cluster.pod("web.default.n1.default", namespace="ovn")
    name = "web.default.n1.default"
    await until(lambda: "NameTaken" in {reason for reason, _ in cluster.why(name)})
    assert facts(cluster, N1)["allocated"] == "true"
    before = cluster.database.transactions
    cluster.delete("pods", name, "ovn")
    await asyncio.sleep(1)
    assert cluster.database.transactions == before, "its end removes no port of another pod"


async def test_a_wiped_database_gets_every_port_back() -> None:
    cluster = Cluster()
    cluster.put("nodes", "n0")
    cluster.subnet("ovn-default", DUAL, default=True)
    cluster.subnet("second", SECOND, provider=N1)
    define(cluster)
    names = [f"web{number}" for number in range(8)]
    async with Term(cluster):
        for name in names:
            put(cluster, "n1", name)
            await allocated(cluster, "ovn", N1, name=name)
    before = {name: facts(cluster, N1, name) for name in names}
    cluster.database = type(cluster.database)()
    cluster.delete(NADS, "n1", "default")
    async with Term(cluster):
        await until(lambda: len(ports(cluster)) == 2 * len(names))
    assert {name: facts(cluster, N1, name) for name in names} == before


async def test_addresses_for_an_interface_of_another_plugin(cluster: Cluster) -> None:
    """They are of a switch that no router knows, and nothing says that OVN routes them."""
    define(cluster, "lan", type="macvlan", ipam={"type": "ovnlet", "provider": "lan.default"})
    cluster.subnet("lan", "10.18.0.0/24", provider="lan.default")
    put(cluster, [{"name": "lan", "ips": ["10.18.0.9"]}])
    await until(lambda: facts(cluster, "lan.default").get("allocated") == "true")
    found = facts(cluster, "lan.default")
    assert found.keys() == {
        *("allocated", "cidr", "gateway", "ip_address", "logical_switch", "mac_address")
    }
    assert (found["ip_address"], found["cidr"]) == ("10.18.0.9", "10.18.0.0/24")
    rows = cluster.terms[0].northbound.subnet("lan", "ovn-cluster")
    assert {type(row).__name__ for row in rows} == {"Switch"}
    rows = cluster.terms[0].northbound.network("ovn-cluster")
    assert not [row for row in rows if "10.18.0.0/24" in str(row)]
    assert [row for row in rows if "10.17.0.0/24" in str(row)], "the control"
    put(cluster, [])
    await until(lambda: not facts(cluster, "lan.default"))
    await until(lambda: "web.default.lan.default" not in ports(cluster))
