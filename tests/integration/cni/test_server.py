"""The socket and a request's lifetime.

Who may call, what a disconnect does, how the server starts, stops and is replaced.
"""

import asyncio
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, UnixConnector, web
from structlog.testing import capture_logs

from integration.cni.agents import ScriptedAgent
from integration.cni.runtime import Runtime, ended
from ovnlet_cni.errors import Code
from ovnlet_cni.listener import UnusableSocket
from ovnlet_cni.server import Server

NOBODY = 65534
SHIFTED = 1_000_000  # root of a pod's user namespace, as the node sees it


@pytest.fixture
def fast_socket_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make servers check their socket every 0.2 s; one test shows the real period."""
    monkeypatch.setattr("ovnlet_cni.server.SOCKET_CHECK_INTERVAL", 0.2)


@pytest_asyncio.fixture
async def open_runtime(agent: ScriptedAgent, plugin: Path, netns: str) -> AsyncIterator[Runtime]:
    """Yield a server whose directory and plugin all users can reach; only peer checks are left."""
    with tempfile.TemporaryDirectory(prefix="ovnlet-cni-") as name:
        base = Path(name)
        base.chmod(0o755)
        server = Server(agent, base / "run" / "cni.sock")
        await server.start()
        (base / "run").chmod(0o755)
        (base / "run" / "cni.sock").chmod(0o666)
        yield Runtime(Path(shutil.copy2(plugin, base)), base / "run" / "cni.sock", netns)
        await server.stop(0)


async def test_the_socket_is_for_its_owner_alone(server: Server, socket_path: Path) -> None:
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert os.listdir(socket_path.parent) == ["cni.sock"]


async def test_another_user_is_refused_by_peer_credentials(
    open_runtime: Runtime, agent: ScriptedAgent
) -> None:
    config = open_runtime.config()
    assert (await open_runtime.call("STATUS", config)).code == 0
    agent.calls.clear()
    outcome = await open_runtime.call("STATUS", config, user=NOBODY)
    assert outcome.code == Code.INVALID_ENVIRONMENT
    assert str(NOBODY) in str(outcome.error["msg"])
    assert agent.calls == []


async def test_root_in_a_pods_user_namespace_is_refused(
    open_runtime: Runtime, agent: ScriptedAgent
) -> None:
    """It is user 0 inside its namespace, and an unprivileged user to the kernel."""
    agent.calls.clear()
    wait = "read mapped; exec setpriv --reuid=0 --regid=0 --clear-groups "
    words = ["unshare", "--user", "--keep-caps", "sh", "-c", f"{wait} {open_runtime.plugin}"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=open_runtime.env("STATUS") | {"PATH": os.environ["PATH"]},
    )
    async with asyncio.timeout(20):
        while os.readlink(f"/proc/{process.pid}/ns/user") == os.readlink("/proc/self/ns/user"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for kind in ("uid", "gid"):
        Path(f"/proc/{process.pid}/{kind}_map").write_text(f"0 {SHIFTED} 1")
    stdout, stderr = await process.communicate(b"\n" + json.dumps(open_runtime.config()).encode())
    assert stdout, stderr
    error = json.loads(stdout)
    assert error["code"] == Code.INVALID_ENVIRONMENT
    assert str(SHIFTED) in error["msg"]
    assert agent.calls == []


async def test_another_user_does_not_even_reach_the_socket(
    open_runtime: Runtime, agent: ScriptedAgent
) -> None:
    open_runtime.socket.parent.chmod(0o700)
    outcome = await open_runtime.call("ADD", open_runtime.config(), user=NOBODY)
    assert outcome.code == Code.TRY_AGAIN
    assert outcome.seconds < 2, "the plugin retries after a refusal"
    assert agent.calls == []


@pytest.mark.parametrize("directory", ["/", "/run", "/tmp", "/var/run"])
async def test_a_shared_directory_is_refused_and_left_alone(
    agent: ScriptedAgent, directory: str
) -> None:
    before = os.stat(directory)
    with pytest.raises(UnusableSocket):
        await Server(agent, Path(directory) / "ovnlet-test.sock").start()
    assert os.stat(directory).st_mode == before.st_mode


async def test_a_directory_that_kubelet_made_is_tightened(
    agent: ScriptedAgent, socket_path: Path
) -> None:
    socket_path.parent.mkdir(mode=0o755)
    server = Server(agent, socket_path)
    await server.start()
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    await server.stop()


async def test_a_name_that_is_too_long_is_refused(agent: ScriptedAgent, socket_path: Path) -> None:
    with pytest.raises(UnusableSocket, match="longer than"):
        await Server(agent, socket_path.with_name("x" * 100)).start()


async def test_a_stale_socket_file_is_replaced(agent: ScriptedAgent, runtime: Runtime) -> None:
    runtime.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime.socket))
    server = Server(agent, runtime.socket)
    await server.start()
    assert (await runtime.call("STATUS")).code == 0
    await server.stop()
    assert not runtime.socket.exists()


async def test_hanging_up_cancels_the_request_and_waits_for_its_undoing(
    server: Server, runtime: Runtime, agent: ScriptedAgent
) -> None:
    agent.held = True
    process = await runtime.hang("ADD")
    await asyncio.wait_for(agent.entered.wait(), 5)
    process.kill()
    await asyncio.wait_for(agent.undone.wait(), 5)
    await process.wait()
    agent.held = False
    assert (await runtime.call("ADD")).code == 0


async def test_one_slow_request_delays_no_other(
    server: Server, runtime: Runtime, agent: ScriptedAgent
) -> None:
    agent.held = True
    slow = [await runtime.hang("ADD") for _ in range(50)]
    await asyncio.wait_for(agent.entered.wait(), 5)
    agent.held = False
    assert (await runtime.call("STATUS")).seconds < 2
    agent.released.set()
    assert {(await ended(process)).exit_code for process in slow} == {0}


async def test_an_unexpected_exception_is_code_999_and_logged_once(
    server: Server, runtime: Runtime, agent: ScriptedAgent
) -> None:
    agent.failure = ZeroDivisionError("a surprise")
    with capture_logs() as logs:
        outcome = await runtime.call("ADD")
    assert outcome.code == Code.INTERNAL
    assert "ZeroDivisionError" in str(outcome.error["msg"])
    assert [(entry["log_level"], entry["container"]) for entry in logs] == [("error", "c0ffee")]


async def test_a_removed_socket_comes_back(server: Server, runtime: Runtime) -> None:
    runtime.socket.unlink()
    outcome = await runtime.call("ADD")
    assert outcome.code == 0, outcome
    assert outcome.seconds <= 5
    assert stat.S_IMODE(runtime.socket.stat().st_mode) == 0o600


@pytest.mark.usefixtures("fast_socket_checks", "server")
async def test_a_removed_directory_comes_back(runtime: Runtime) -> None:
    shutil.rmtree(runtime.socket.parent)
    assert (await runtime.call("ADD")).code == 0
    assert stat.S_IMODE(runtime.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(runtime.socket.stat().st_mode) == 0o600


@pytest.mark.usefixtures("fast_socket_checks", "server")
async def test_a_request_under_way_outlives_its_socket_file(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    agent.held = True
    process = await runtime.hang("ADD")
    await asyncio.wait_for(agent.entered.wait(), 5)
    runtime.socket.unlink()
    agent.held = False
    assert (await runtime.call("GC")).code == 0
    agent.released.set()
    assert (await ended(process)).code == 0
    assert len(agent.calls) == 2, "the ADD was sent again, or the GC not at all"


@pytest.mark.usefixtures("fast_socket_checks", "server")
async def test_a_socket_replaced_by_a_dead_one_comes_back(runtime: Runtime) -> None:
    runtime.socket.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime.socket))
    assert (await runtime.call("ADD")).code == 0


@pytest.mark.usefixtures("fast_socket_checks")
async def test_a_newer_agent_is_not_fought(server: Server, runtime: Runtime) -> None:
    newer_agent = ScriptedAgent()
    newer = Server(newer_agent, runtime.socket)
    await newer.start()
    inode = runtime.socket.stat().st_ino
    await asyncio.sleep(1)
    assert runtime.socket.stat().st_ino == inode
    await server.stop()
    assert (await runtime.call("ADD")).code == 0, (
        "the old agent removed the new one's socket as it stopped"
    )
    assert len(newer_agent.calls) == 1
    await newer.stop()


async def test_stopping_lets_requests_end(
    server: Server, runtime: Runtime, agent: ScriptedAgent
) -> None:
    agent.held = True
    process = await runtime.hang("ADD")
    await asyncio.wait_for(agent.entered.wait(), 5)
    stopping = asyncio.create_task(server.stop(grace=5))
    await asyncio.sleep(0.1)
    agent.released.set()
    await stopping
    assert (await ended(process)).code == 0


async def test_stopping_undoes_what_is_late_and_the_next_agent_gets_it_again(
    server: Server, runtime: Runtime, agent: ScriptedAgent
) -> None:
    agent.held, agent.undo_seconds = True, 0.3
    process = await runtime.hang("ADD")
    await asyncio.wait_for(agent.entered.wait(), 5)
    await server.stop(grace=0.1)
    assert agent.undone.is_set(), "stop() returned before the undo had ended"
    next_agent = ScriptedAgent()
    next_server = Server(next_agent, runtime.socket)
    await next_server.start()
    assert (await ended(process)).code == 0
    assert len(next_agent.calls) == 1
    await next_server.stop()


async def test_the_agent_adds_routes_of_its_own(agent: ScriptedAgent, socket_path: Path) -> None:
    async def pods(_: web.Request) -> web.Response:
        return web.json_response(["default/web-0"])

    server = Server(agent, socket_path, [web.get("/pods", pods)])
    await server.start()
    async with (
        ClientSession(connector=UnixConnector(str(socket_path))) as session,
        session.get("http://agent/pods") as answer,
    ):
        assert await answer.json() == ["default/web-0"]
    await server.stop()
