"""A real API server and a real OVN central, and replicas of the controller as processes."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from integration.controller.admin import ClusterAdmin
from integration.controller.replicas import SYSTEM, Replicas
from testbed import clean, layout, rights
from testbed.bed import Bed
from testbed.service import wait_for

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
NAME = "control"
KINDS = ("subnet.yaml", "ippool.yaml", "provider-network.yaml", "vlan.yaml")


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    for left in layout.ROOT.glob(f"{NAME}-*"):  # left over from a run that was killed
        if not Path("/proc", left.name.removeprefix(f"{NAME}-")).exists():
            clean.remove(left.name)
    with Bed.up(f"{NAME}-{os.getpid()}", parts={"etcd", "apiserver", "central"}) as bed:
        bed.kubectl("apply", f"--filename={MANIFESTS / 'base/namespace.yaml'}")
        for file in (*KINDS, "rbac.yaml"):
            bed.kubectl(
                "apply", f"--filename={MANIFESTS / 'standalone' / file}", f"--namespace={SYSTEM}"
            )
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
        asked = ("get", "crd", "--output=jsonpath={.items[*].status.conditions[*].type}")
        wait_for(lambda: bed.kubectl(*asked).count("Established") == len(KINDS), "the kinds")
        yield bed
        used = rights.look(bed, rights.CONTROLLER)
        rights.record("control floor", used)
        assert not used.excess, "the controller requested more than it is granted"


@pytest.fixture
async def admin(bed: Bed) -> AsyncIterator[ClusterAdmin]:
    """Yield an administrator's client, then delete what the test left in the API server and OVN."""
    connector = aiohttp.TCPConnector(
        ssl=ssl.create_default_context(cafile=str(bed.ids.ca)), limit=16
    )
    headers = {"Authorization": f"Bearer {bed.token}"}
    async with aiohttp.ClientSession(bed.api_url, connector=connector, headers=headers) as http:
        admin = ClusterAdmin(http, bed)
        yield admin
        await admin.sweep()


@pytest.fixture
async def replicas(bed: Bed, admin: ClusterAdmin, tmp_path: Path) -> AsyncIterator[Replicas]:
    """Yield replicas with exactly the rights of the manifests, then stop them."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/ovnlet-controller/token"
    answer = await asyncio.to_thread(
        bed.kubectl, "create", f"--raw={path}", "--filename=-", stdin=json.dumps(request)
    )
    replicas = Replicas(bed, tmp_path, json.loads(answer)["status"]["token"])
    yield replicas
    await asyncio.to_thread(replicas.stop)
