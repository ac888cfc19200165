"""The logical port of a virtual machine: one for all pods that launch it, also in a migration."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from kit.cluster import OVN, Cluster, Term, until
from ovnlet.core.ipam.networks import NETWORKS
from ovnlet.core.resources.northbound import SwitchPort

pytestmark = [pytest.mark.looptime]
DUAL, N1 = "10.16.0.0/16,fd00:10:16::/64", "n1.default.ovn"
OWNER = {"kind": "VirtualMachineInstance", "apiVersion": "kubevirt.io/v1", "name": "db"}
TARGET = {"kubevirt.io/migrationJobName": "move-db"}


def world() -> Cluster:
    cluster = Cluster()
    for node in ("n0", "n1"):
        cluster.put("nodes", node)
    cluster.subnet("ovn-default", DUAL, default=True)
    return cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = world()
    async with Term(cluster, cool_down=0):
        yield cluster


def launch(cluster: Cluster, name: str, node: str, phase: str = "Running", **more: str) -> None:
    """Create or edit a launcher. Each that is created is newer than those before."""
    known = cluster.objects.get(("pods", "default", name), {"metadata": {}})["metadata"]
    meta = {
        "ownerReferences": [OWNER],
        "annotations": {**known.get("annotations", {}), **more},
    }
    body = {"spec": {"nodeName": node}, "status": {"phase": phase}}
    cluster.put("pods", name, "default", metadata=meta, **body)


def port(cluster: Cluster, name: str = "db.default") -> SwitchPort | None:
    found = [each for each in cluster.database.strict.every_port() if each.name == name]
    return found[0] if found else None


def chassis(cluster: Cluster) -> tuple[str, str]:
    """Return which chassis the port asks for, and how a second one is activated."""
    found = port(cluster)
    options = dict(found.options) if found else {}
    return options.get("requested-chassis", ""), options.get("activation-strategy", "")


async def allocated(cluster: Cluster, *names: str) -> None:
    def all_of_them() -> bool:
        return all(cluster.annotations(name).get("routed") == "true" for name in names)

    await until(all_of_them)


async def test_port_and_annotations_are_the_machines(cluster: Cluster) -> None:
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    found = port(cluster)
    assert found is not None
    assert dict(found.options) == {"requested-chassis": "n0"}, "no pod's UID"
    assert found.label("pod") == "default/db"
    assert cluster.annotations("launcher-a")["virtualmachine"] == "db"
    assert port(cluster, "launcher-a.default") is None


async def test_during_a_migration_both_nodes_have_the_port(cluster: Cluster) -> None:
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    before = cluster.annotations("launcher-a")
    launch(cluster, "launcher-b", "n1", **TARGET)
    while cluster.annotations("launcher-b").get("allocated") != "true":  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    # The target's ADD waits for its annotations, so it cannot take the port from the source.
    assert chassis(cluster) == ("n0,n1", "rarp")
    names = ("ip_address", "mac_address", "virtualmachine")
    after = cluster.annotations("launcher-b")
    assert [after[name] for name in names] == [before[name] for name in names]
    launch(cluster, "launcher-a", "n0", "Succeeded")
    await until(lambda: chassis(cluster) == ("n1", ""))
    cluster.delete("pods", "launcher-a", "default")
    await asyncio.sleep(1)
    assert chassis(cluster) == ("n1", ""), "the end of the source takes nothing"


async def test_a_migration_that_fails_leaves_the_port_to_the_source(cluster: Cluster) -> None:
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    launch(cluster, "launcher-b", "n1", **TARGET)
    await until(lambda: chassis(cluster) == ("n0,n1", "rarp"))
    launch(cluster, "launcher-b", "n1", "Failed")
    await until(lambda: chassis(cluster) == ("n0", ""))


async def test_an_old_completed_launcher_ends_no_migration(cluster: Cluster) -> None:
    launch(cluster, "launcher-0", "n0", "Succeeded")
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    launch(cluster, "launcher-b", "n1", **TARGET)
    await until(lambda: chassis(cluster) == ("n0,n1", "rarp"))
    cluster.delete("pods", "launcher-0", "default")
    await asyncio.sleep(1)
    assert chassis(cluster) == ("n0,n1", "rarp")


async def test_without_a_migration_the_newest_launcher_has_the_port(cluster: Cluster) -> None:
    """The control: the same two pods, of which the second is no target."""
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    launch(cluster, "launcher-b", "n1")
    await allocated(cluster, "launcher-b")
    assert chassis(cluster) == ("n1", "")


async def test_with_the_last_launcher_the_port_goes(cluster: Cluster) -> None:
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    launch(cluster, "launcher-b", "n0")
    await allocated(cluster, "launcher-b")
    cluster.delete("pods", "launcher-a", "default")
    await asyncio.sleep(1)
    assert port(cluster) is not None
    cluster.delete("pods", "launcher-b", "default")
    await until(lambda: port(cluster) is None)


async def test_a_pod_of_the_machines_name_cannot_have_its_port(cluster: Cluster) -> None:
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    before = port(cluster)
    cluster.pod("db")
    await until(lambda: "NameTaken" in {reason for reason, _ in cluster.why("db")})
    cluster.delete("pods", "db", "default")
    await asyncio.sleep(1)
    assert port(cluster) == before


async def test_a_machine_that_a_pod_names_by_itself_is_taken_off(cluster: Cluster) -> None:
    """The agent names the port by that annotation: it would be another machine's."""
    claimed = {f"{OVN}/virtualmachine": "db"}
    cluster.put(
        "pods", "eve", "default", metadata={"annotations": claimed}, spec={"nodeName": "n0"}
    )
    await allocated(cluster, "eve")
    assert cluster.annotations("eve")["virtualmachine"] == ""
    assert port(cluster, "eve.default") is not None
    assert port(cluster) is None


async def test_chassis_that_nodes_name_are_asked_for(cluster: Cluster) -> None:
    for node in ("n0", "n1"):
        name = {f"{OVN}/chassis": f"chassis-{node}"}
        cluster.put("nodes", node, metadata={"annotations": name})
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    launch(cluster, "launcher-b", "n1", **TARGET)
    await until(lambda: chassis(cluster) == ("chassis-n0,chassis-n1", "rarp"))


async def test_a_further_network_of_a_machine(cluster: Cluster) -> None:
    cluster.subnet("second", "10.17.0.0/24", provider=N1)
    config = json.dumps({"type": "kube-ovn", "provider": N1})
    cluster.put("network-attachment-definitions", "n1", "default", spec={"config": config})
    launch(cluster, "launcher-a", "n0", **{NETWORKS: "n1"})
    await until(lambda: port(cluster, f"db.default.{N1}") is not None)
    cluster.delete("pods", "launcher-a", "default")
    await until(lambda: port(cluster, f"db.default.{N1}") is None)


async def test_a_wiped_database_gets_the_port_back() -> None:
    cluster = world()
    async with Term(cluster):
        launch(cluster, "launcher-a", "n0")
        await allocated(cluster, "launcher-a")
        launch(cluster, "launcher-b", "n1", **TARGET)
        await allocated(cluster, "launcher-b")
        before = port(cluster)
    cluster.database = type(cluster.database)()
    async with Term(cluster):
        await until(lambda: port(cluster) == before)


async def test_a_machine_that_is_stopped_keeps_its_addresses(cluster: Cluster) -> None:
    """Its launcher ends, then goes; the cool-down of this cluster is 0. The next one has them."""
    cluster.subnet("second", "10.17.0.0/24", provider=N1)
    config = json.dumps({"type": "kube-ovn", "provider": N1})
    cluster.put("network-attachment-definitions", "n1", "default", spec={"config": config})
    cluster.put("virtualmachines", "db", "default")
    launch(cluster, "launcher-a", "n0", **{NETWORKS: "n1"})
    await until(lambda: port(cluster, f"db.default.{N1}") is not None)
    await allocated(cluster, "launcher-a")
    before = cluster.annotations("launcher-a")
    launch(cluster, "launcher-a", "n0", "Succeeded")
    await asyncio.sleep(1)
    cluster.delete("pods", "launcher-a", "default")
    await asyncio.sleep(1)
    cluster.pod("other")
    await allocated(cluster, "other")
    assert cluster.annotations("other")["ip_address"] != before["ip_address"]
    launch(cluster, "launcher-b", "n1", **{NETWORKS: "n1"})
    await until(lambda: "allocated" in cluster.annotations("launcher-b"))
    await until(lambda: f"{N1}.kubernetes.io/allocated" in cluster.annotations("launcher-b"))
    after = cluster.annotations("launcher-b")
    for name in ("ip_address", "mac_address"):
        for key in (name, f"{N1}.kubernetes.io/{name}"):
            assert after[key] == before[key]
    found = port(cluster)
    assert found is not None
    assert found.enabled


async def test_a_stopped_machine_that_is_deleted_releases_its_port(cluster: Cluster) -> None:
    cluster.put("virtualmachines", "db", "default")
    cluster.put("virtualmachines", "db", "other")  # of another namespace
    launch(cluster, "launcher-a", "n0")
    await allocated(cluster, "launcher-a")
    cluster.delete("pods", "launcher-a", "default")
    await asyncio.sleep(1)
    assert port(cluster) is not None
    cluster.delete("virtualmachines", "db", "default")
    await until(lambda: port(cluster) is None)


async def test_a_network_that_a_machine_starts_without_is_released(cluster: Cluster) -> None:
    cluster.subnet("second", "10.17.0.0/24", provider=N1)
    config = json.dumps({"type": "kube-ovn", "provider": N1})
    cluster.put("network-attachment-definitions", "n1", "default", spec={"config": config})
    cluster.put("virtualmachines", "db", "default")
    launch(cluster, "launcher-a", "n0", **{NETWORKS: "n1"})
    await until(lambda: port(cluster, f"db.default.{N1}") is not None)
    cluster.delete("pods", "launcher-a", "default")
    await asyncio.sleep(1)
    assert port(cluster, f"db.default.{N1}") is not None
    launch(cluster, "launcher-b", "n0")
    await allocated(cluster, "launcher-b")
    cluster.terms[0].controller._add_all()  # as a resync does
    await until(lambda: port(cluster, f"db.default.{N1}") is None)


async def test_a_stopped_machine_keeps_its_port_over_a_change_of_leaders() -> None:
    cluster = world()
    cluster.put("virtualmachines", "db", "default")
    async with Term(cluster, cool_down=0):
        launch(cluster, "launcher-a", "n0")
        await allocated(cluster, "launcher-a")
        cluster.delete("pods", "launcher-a", "default")
        before = port(cluster)
    async with Term(cluster, cool_down=0):
        await asyncio.sleep(2)
        assert port(cluster) == before
    cluster.delete("virtualmachines", "db", "default")
    async with Term(cluster, cool_down=0):
        await until(lambda: port(cluster) is None)
