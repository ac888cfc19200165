"""A real kube-apiserver and etcd, the agent's own identity in it, and a proxy that can fail."""

import json
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from integration.apiserver.proxy import ApiProxy
from testbed import clean, layout
from testbed.bed import Bed
from testbed.service import wait_for

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests" / "base"
NAME = "cluster"
SYSTEM = "ovnlet-system"
USER = f"system:serviceaccount:{SYSTEM}:ovnlet"


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    for left in layout.ROOT.glob(f"{NAME}-*"):  # left over from a run that was killed
        if not Path("/proc", left.name.removeprefix(f"{NAME}-")).exists():
            clean.remove(left.name)
    with Bed.up(f"{NAME}-{os.getpid()}", parts={"etcd", "apiserver"}) as bed:
        bed.kubectl("apply", f"--filename={MANIFESTS / 'namespace.yaml'}")
        grant(bed)
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
        yield bed


@pytest.fixture
def account(bed: Bed, tmp_path: Path) -> Path:
    """Return a directory like the one kubelet mounts: the CA and a token of the API server."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "ca.crt").write_text(bed.ids.ca.read_text())
    (folder / "token").write_text(token(bed))
    return folder


def grant(bed: Bed) -> None:
    """Give the agent exactly the rights of the project's manifests."""
    bed.kubectl("apply", f"--filename={MANIFESTS / 'rbac.yaml'}", f"--namespace={SYSTEM}")


def token(bed: Bed) -> str:
    """Return a new token of the agent's service account."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/ovnlet/token"
    answer = bed.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(request))
    return str(json.loads(answer)["status"]["token"])


@pytest.fixture
async def proxy(bed: Bed) -> AsyncIterator[ApiProxy]:
    proxy = ApiProxy(
        bed.api_url, bed.ids.ca, bed.ids.directory / "server.crt", bed.ids.directory / "server.key"
    )
    await proxy.open()
    yield proxy
    await proxy.close()


class Api:
    """An administrator's HTTP client; faster than a kubectl for each call."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def _do(self, method: str, path: str, **options: Any) -> Any:
        async with self._http.request(method, f"/api/v1{path}", **options) as answer:
            body = await answer.json()
            assert answer.ok, body
            return body

    async def create(
        self, name: str, *, annotations: dict[str, str] | None = None, **spec: Any
    ) -> Any:
        body = {
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"nodeName": "n0", "containers": [{"name": "c", "image": "x"}], **spec},
        }
        return await self._do("POST", "/namespaces/default/pods", json=body)

    async def note(self, name: str, text: str) -> None:
        change = {"metadata": {"annotations": {"ovn.kubernetes.io/note": text}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        await self._do("PATCH", f"/namespaces/default/pods/{name}", json=change, headers=headers)

    async def finish(self, name: str) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"/namespaces/default/pods/{name}/status"
        await self._do("PATCH", path, json={"status": {"phase": "Succeeded"}}, headers=headers)

    async def delete(self, name: str) -> None:
        await self._do(
            "DELETE", f"/namespaces/default/pods/{name}", params={"gracePeriodSeconds": "0"}
        )

    async def events(self, name: str) -> list[dict[str, Any]]:
        selector = {"fieldSelector": f"involvedObject.name={name}"}
        items: list[dict[str, Any]] = (
            await self._do("GET", "/namespaces/default/events", params=selector)
        )["items"]
        return items

    async def forget_event(self, name: str) -> None:
        await self._do("DELETE", f"/namespaces/default/events/{name}")

    async def sweep(self) -> None:
        await self._do("DELETE", "/namespaces/default/pods", params={"gracePeriodSeconds": "0"})
        await self._do("DELETE", "/namespaces/default/events")


@pytest.fixture
async def api(bed: Bed) -> AsyncIterator[Api]:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(bed.ids.ca)))
    headers = {"Authorization": f"Bearer {bed.token}"}
    async with aiohttp.ClientSession(bed.api_url, connector=connector, headers=headers) as http:
        api = Api(http)
        yield api
        await api.sweep()


class Audit:
    """The requests that the agent's identity has sent since this object was created."""

    def __init__(self, log: Path) -> None:
        self._log, self._from = log, log.stat().st_size

    def asked(self) -> list[dict[str, Any]]:
        with self._log.open() as file:
            file.seek(self._from)
            entries: list[dict[str, Any]] = [
                json.loads(line) for line in file if line.endswith("\n")
            ]
        return [entry for entry in entries if entry["user"]["username"] == USER]

    def verbs(self) -> set[tuple[str, str]]:
        """Return each verb with its resource. Discovery has no resource and is left out."""
        return {
            (entry["verb"], entry["objectRef"]["resource"])
            for entry in self.asked()
            if "objectRef" in entry
        }


@pytest.fixture
def audit(bed: Bed) -> Audit:
    return Audit(bed.audit_log)
