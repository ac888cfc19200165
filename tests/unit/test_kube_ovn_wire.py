"""The socket of kube-ovn-cni: what its plugin sends, field by field, and what it must get.

`tests/kit/kube_ovn_wire.json` has the requests as the plugin of releases 1.12 to 1.17 sends them.
"""

import json
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, UnixConnector

from ovnlet_cni import netns
from ovnlet_cni.errors import CniError, Code, UnknownProvider
from ovnlet_cni.request import Attach, Detach
from ovnlet_cni.result import Attached, AttachedInterface, AttachedIp, AttachedRoute
from ovnlet_cni.server import Server

CASES = json.loads((Path(__file__).parents[1] / "kit" / "kube_ovn_wire.json").read_text())
ATTACHED = Attached(
    (
        AttachedInterface("eth0", "00:00:00:00:00:02", 1400, "/run/netns/a"),
        AttachedInterface("c0ffee_h", mtu=1400),
    ),
    tuple(
        AttachedIp(ip_interface(address), ip_address(gateway), 0)
        for address, gateway in (("10.16.0.2/16", "10.16.0.1"), ("fd00::2/64", "fd00::1"))
    ),
    tuple(
        AttachedRoute(ip_network(to), ip_address(via))
        for to, via in (("0.0.0.0/0", "10.16.0.1"), ("::/0", "fd00::1"))
    ),
)


class RecordingAgent:
    """Keeps the calls, and answers with ATTACHED or raises ``failure``."""

    def __init__(self) -> None:
        self.calls: list[Attach | Detach] = []
        self.failure: Exception | None = None

    async def add(self, attach: Attach, /) -> Attached:
        assert not attach.ipam_only
        return self._answer(attach)

    async def allocate(self, attach: Attach, /) -> Attached:
        assert attach.ipam_only
        return self._answer(attach)

    async def delete(self, detach: Detach, /) -> None:
        assert not detach.ipam_only
        self._answer(detach)

    async def release(self, detach: Detach, /) -> None:
        assert detach.ipam_only
        self._answer(detach)

    async def check(self, attach: Attach, /) -> None:
        raise AssertionError(attach)

    async def status(self) -> None:
        raise AssertionError

    async def gc(self, valid: frozenset[tuple[str, str]], /) -> None:
        raise AssertionError(valid)

    def _answer(self, call: Attach | Detach) -> Attached:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
        return ATTACHED


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> RecordingAgent:
    """Return an agent for whose sandboxes no namespace is needed."""
    monkeypatch.setattr(netns, "require_foreign", lambda _path, _override: None)
    return RecordingAgent()


@pytest.fixture
def second() -> Iterator[Path]:
    """Yield the path of the second socket, in a directory that is there as Open vSwitch's is."""
    with tempfile.TemporaryDirectory(prefix="ovnlet-wire-") as directory:
        yield Path(directory) / "kube-ovn-daemon.sock"


@pytest_asyncio.fixture
async def serving(agent: RecordingAgent, second: Path) -> AsyncIterator[Server]:
    server = Server(agent, second.parent / "own" / "cni.sock", kube_ovn_socket=second)
    await server.start()
    assert server.kube_ovn_site is not None
    await server.kube_ovn_site.listen()
    yield server
    await server.stop(0.1)
    assert not second.exists()


async def post(path: Path, route: str, body: bytes) -> tuple[int, Any]:
    """Send a request as the plugin does; return the status and the decoded body, None for none."""
    headers = {"Content-Type": "application/json"}
    async with (
        ClientSession(connector=UnixConnector(str(path))) as http,
        http.post(f"http://dummy{route}", data=body, headers=headers) as answer,
    ):
        text = await answer.read()
        return answer.status, json.loads(text) if text else None


def seen(agent: RecordingAgent) -> dict[str, Any] | None:
    """Return what the agent got, as the golden file has it."""
    if not agent.calls:
        return None
    (call,) = agent.calls
    names = ("container_id", "ifname", "ipam_only")
    found = {name: getattr(call, name) for name in names}
    if not isinstance(call, Attach):
        return {"verb": "DEL", **found}
    assert call.uid is None
    more = {name: getattr(call, name) for name in ("namespace", "pod", "provider")}
    routes = [[str(route.dst), str(route.gw)] for route in call.routes]
    return {"verb": "ADD", **found, **more, "routes": routes}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.usefixtures("serving")
async def test_what_the_plugin_sends(
    agent: RecordingAgent, second: Path, case: dict[str, Any]
) -> None:
    request = case["request"]
    text = request if isinstance(request, str) else json.dumps(request)
    status, answer = await post(second, case["path"], text.encode())
    assert status == case["status"], answer
    assert seen(agent) == case["seen"]
    if "error" in case:
        assert set(answer) == {"error"}
        assert case["error"] in answer["error"]
    else:
        assert answer == case["answer"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (CniError(Code.TRY_AGAIN, "ADD: gave up after 110 s: no address yet"), 400),
        (UnknownProvider("no Subnet has provider n1.default.ovn"), 400),
        (CniError(Code.INVALID_CONFIG, "ip_address is '10.0.0'"), 500),
        (CniError(Code.IO_FAILURE, "the kernel refused"), 500),
        (RuntimeError("of no kind"), 500),
    ],
    ids=lambda each: str(each)[:20],
)
@pytest.mark.usefixtures("serving")
async def test_errors_have_its_shape_and_its_status(
    agent: RecordingAgent, second: Path, failure: Exception, status: int
) -> None:
    agent.failure = failure
    body = json.dumps(CASES[0]["request"]).encode()
    answered, answer = await post(second, "/api/v1/add", body)
    assert answered == status
    assert set(answer) == {"error"}
    assert str(failure) in answer["error"]


async def test_a_socket_that_another_process_answers_is_foreign(
    serving: Server, second: Path
) -> None:
    site = serving.kube_ovn_site
    assert site is not None
    assert site.is_ours
    second.unlink()
    assert not site.is_ours
    assert not site.is_foreign
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(second))
        other.listen()
        assert site.is_foreign
    assert not site.is_foreign, "a dead socket's file stops nobody"
    await site.listen()
    assert site.is_ours
