"""`ovnlet uninstall --cluster`: refused while in use; then nothing of ours is left (E14)."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from integration.controller.admin import MERGE, PODS, SUBNETS, ClusterAdmin, until
from integration.controller.replicas import SYSTEM, Replicas
from testbed.bed import Bed
from testbed.service import wait_for

pytestmark = pytest.mark.review2

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
FILES = ("subnet", "ippool", "provider-network", "vlan")
ACCOUNT, REMOVAL = "ovnlet-uninstall", "uninstall-standalone/rbac.yaml"
KINDS = tuple(f"{name}s.kubeovn.io" for name in FILES)
FOREIGN = (
    "ls-add theirs -- lsp-add theirs theirs-1 -- lr-add their-router"
    " -- lr-route-add their-router 203.0.113.0/24 192.0.2.1"
    " -- lb-add their-lb 203.0.113.9:80 192.0.2.9:80"
    " -- set nb_global . external_ids:other=kept"
)
SERVICE = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
Inventory = dict[str, Any]


@pytest.fixture(scope="module")
def empty() -> Iterator[Bed]:
    """Yield a bed without ovnlet's kinds, with rows of somebody else in OVN and two Nodes."""
    with Bed.up(f"removal-{os.getpid()}", parts={"etcd", "apiserver", "central"}) as bed:
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
        bed.kubectl("apply", f"--filename={MANIFESTS / 'base/namespace.yaml'}")
        bed.nbctl(*FOREIGN.split())
        yield bed


@dataclass(slots=True)
class Installation:
    """A stand-alone installation with a Subnet in use, and what was there before it."""

    bed: Bed
    admin: ClusterAdmin
    replicas: Replicas
    before: Inventory

    async def uninstall(self, *flags: str) -> tuple[int, str, str]:
        """Run the command to its end with its Job's rights; return its code and what it said."""
        assert self.bed.control is not None
        remote = f"unix:{self.bed.control.path('/run/ovn/ovnnb_db.sock')}"
        words = [
            *(sys.executable, "-m", "ovnlet", "uninstall", "--cluster", f"--ovn-nb={remote}"),
            *(f"--kubeconfig={self.replicas.directory / ACCOUNT}", "--lease-seconds=2", *flags),
        ]
        with self.said.open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                *words, stdout=said, stderr=asyncio.subprocess.PIPE
            )
        try:
            _, stderr = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode is not None
        return process.returncode, self.said.read_text(), stderr.decode()

    @property
    def said(self) -> Path:
        """What the last call has printed so far."""
        return self.replicas.directory / "uninstall.out"


async def inventory(admin: ClusterAdmin) -> Inventory:
    """Return kinds, Leases, Nodes' annotations and finalizers, and all rows of the northbound."""
    kinds = await admin.do("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    leases = await admin.do("GET", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases")
    nodes = (await admin.do("GET", "/api/v1/nodes"))["items"]
    rows: dict[str, list[Any]] = {}
    for table in (
        *("logical_switch", "logical_switch_port", "logical_router", "logical_router_port"),
        *("logical_router_policy", "logical_router_static_route", "load_balancer"),
        *("load_balancer_group", "dhcp_options", "acl", "nat", "port_group", "address_set"),
    ):
        listed = json.loads(await admin.nbctl("--format=json", "list", table))
        rows[table] = sorted(map(json.dumps, listed["data"]))
    return {
        "kinds": sorted(each["metadata"]["name"] for each in kinds["items"]),
        "leases": sorted(each["metadata"]["name"] for each in leases["items"]),
        "nodes": {
            each["metadata"]["name"]: (
                each["metadata"].get("annotations"),
                each["metadata"].get("finalizers"),
            )
            for each in nodes
        },
        "rows": rows,
        "keys": await admin.nbctl("get", "nb_global", ".", "external_ids"),
    }


def kubeconfig(bed: Bed) -> dict[str, Any]:
    """Return the bed's kubeconfig with the account of the removal's Job."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{ACCOUNT}/token"
    made = bed.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(request))
    content: dict[str, Any] = json.loads(bed.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": json.loads(made)["status"]["token"]}
    return content


@pytest_asyncio.fixture
async def installed(empty: Bed, tmp_path: Path) -> AsyncIterator[Installation]:
    bed = empty
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(bed.ids.ca)))
    headers = {"Authorization": f"Bearer {bed.token}"}
    bed.kubectl("apply", f"--filename={MANIFESTS / REMOVAL}", f"--namespace={SYSTEM}")
    (tmp_path / ACCOUNT).write_text(json.dumps(kubeconfig(bed)))
    async with aiohttp.ClientSession(bed.api_url, connector=trusted, headers=headers) as http:
        admin = ClusterAdmin(http, bed)
        await admin.node("n0", "192.0.2.1")
        await admin.node("n1", "192.0.2.2")
        before = await inventory(admin)
        for file in (*FILES, "rbac"):
            path = MANIFESTS / "standalone" / f"{file}.yaml"
            bed.kubectl("apply", f"--filename={path}", f"--namespace={SYSTEM}")
        shown = ("get", "crd", *KINDS, "--output=jsonpath={.items[*].status.conditions[*].type}")
        wait_for(lambda: bed.kubectl(*shown).count("Established") == len(KINDS), "the kinds")
        replicas = Replicas(bed, tmp_path, bed.token)
        replicas.start()
        await admin.subnet("ovn-default", "10.16.0.0/16,fd00:10:16::/64", default=True)
        await admin.subnet("second", "10.17.0.0/24")
        await admin.pool("reserved", "ovn-default", "10.16.9.0/24")
        await admin.ready("ovn-default")
        await admin.do("POST", "/api/v1/namespaces/default/services", json=SERVICE)
        await admin.pods(["web-0", "web-1"])
        await admin.allocated("web-0", "web-1")
        yield Installation(bed, admin, replicas, before)
        await asyncio.to_thread(replicas.stop)
        await admin.do("DELETE", "/api/v1/namespaces/default/services/web")
        await admin.do("DELETE", PODS, params={"gracePeriodSeconds": "0"})
        await admin.do("DELETE", "/api/v1/nodes")


def same(left: Inventory, right: Inventory) -> None:
    for part, was in left.items():
        assert right[part] == was, part


async def test_e14_refused_while_it_is_used_then_nothing_of_ours_is_left(
    installed: Installation,
) -> None:
    admin, replicas = installed.admin, installed.replicas
    used = await inventory(admin)
    assert len(used["rows"]["load_balancer_group"]) == 1
    assert len(used["rows"]["load_balancer"]) > 1, "ours beside theirs"
    code, _, why = await installed.uninstall()
    assert (code, "the controller a leads: delete its Deployment first" in why) == (1, True), why
    replicas.kill("a")  # without notice: its Lease lasts for some seconds more
    code, _, why = await installed.uninstall()
    assert code == 1
    assert "Subnet ovn-default is used by default/web-0, default/web-1" in why, why
    now = await inventory(admin)
    same({**used, "rows": None}, {**now, "rows": None})
    assert used["rows"] == now["rows"], "it is refused before anything is removed"

    waiting = asyncio.create_task(installed.uninstall("--wait"))

    async def waits() -> bool:
        return "waiting: Subnet ovn-default is used by" in installed.said.read_text()

    await until(waits, 40, "the command waits for the pods")
    assert not waiting.done()
    for pod in ("web-0", "web-1"):
        await admin.delete(pod)
    code, said, why = await waiting
    print(said)
    assert code == 0, why
    same(installed.before, await inventory(admin))
    code, said, _ = await installed.uninstall()
    assert (code, said) == (0, "nothing of ovnlet's controller is left in the cluster\n")


async def test_e14_it_ends_a_removal_that_hangs_in_the_finalizers(installed: Installation) -> None:
    """Control: without the controller, deleting the kinds alone never ends."""
    admin = installed.admin
    installed.replicas.kill("a")
    for kind in KINDS:
        installed.bed.kubectl("delete", "crd", kind, "--wait=false")
    await asyncio.sleep(3)
    left = await inventory(admin)
    assert "subnets.kubeovn.io" in left["kinds"], "the finalizers hold it"
    assert (await admin.do("GET", SUBNETS))["items"]
    code, said, why = await installed.uninstall("--cut-off")
    print(said)
    assert code == 0, why
    same(installed.before, await inventory(admin))


async def test_e14_what_is_not_ours_is_named_and_nothing_is_removed(
    installed: Installation,
) -> None:
    """A foreign port on our switch would go with it; a foreign finalizer holds the kind."""
    admin = installed.admin
    installed.replicas.kill("a")
    await admin.nbctl("lsp-add", "second", "somebody")
    code, _, why = await installed.uninstall("--cut-off")
    assert (code, "second has the port somebody, which is not ours" in why) == (1, True), why
    assert "second" in await admin.nbctl("ls-list")
    await admin.nbctl("lsp-del", "somebody")
    both = {"metadata": {"finalizers": ["ovnlet.io/subnet", "other.io/hold"]}}
    await admin.do("PATCH", f"{SUBNETS}/second", json=both, headers=MERGE)
    holding = asyncio.create_task(installed.uninstall("--cut-off"))
    await until(lambda: _finalizers(admin, ["other.io/hold"]), 20, "our finalizer released")
    code, _, why = await holding
    assert (code, "second (other.io/hold)" in why) == (1, True), why
    none = {"metadata": {"finalizers": None}}
    await admin.do("PATCH", f"{SUBNETS}/second", json=none, headers=MERGE)
    assert (await installed.uninstall("--cut-off"))[0] == 0
    same(installed.before, await inventory(admin))


async def _finalizers(admin: ClusterAdmin, wanted: list[str]) -> bool:
    body = await admin.do("GET", f"{SUBNETS}/second")
    return bool(body["metadata"].get("finalizers") == wanted)


async def test_e14_beside_kube_ovn_it_refuses(installed: Installation) -> None:
    """Its kinds have the same names, and its Subnets are running networks."""
    admin, bed = installed.admin, installed.bed
    installed.replicas.kill("a")
    crd = json.loads(bed.kubectl("get", "crd", "ippools.kubeovn.io", "--output=json"))
    names = {"plural": "vpcs", "singular": "vpc", "kind": "Vpc", "listKind": "VpcList"}
    spec = {**crd["spec"], "names": names}
    body = {
        "apiVersion": crd["apiVersion"],
        "kind": crd["kind"],
        "metadata": {"name": "vpcs.kubeovn.io"},
        "spec": spec,
    }
    bed.kubectl("create", "--filename=-", stdin=json.dumps(body))
    code, _, why = await installed.uninstall("--cut-off")
    assert (code, "Kube-OVN" in why) == (1, True), why
    assert (await admin.do("GET", SUBNETS))["items"]
    bed.kubectl("delete", "crd", "vpcs.kubeovn.io")
    assert (await installed.uninstall("--cut-off"))[0] == 0
    same(installed.before, await inventory(admin))
