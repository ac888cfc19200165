"""The built plugin, the real server and a kernel namespace, which these tests run on."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from integration.cni.agents import ScriptedAgent
from integration.cni.runtime import Outcome, Runtime
from ovnlet_cni.server import Server

SOURCE = Path(__file__).resolve().parents[3] / "cni" / "plugin"


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the plugin, and return its copy in a CNI directory of its own."""
    subprocess.run(["make", "-s", "-C", SOURCE], check=True)
    return Path(shutil.copy2(SOURCE / "ovnlet", tmp_path_factory.mktemp("bin")))


@pytest.fixture(scope="session")
def netns() -> Iterator[str]:
    """Yield the path of a network namespace that is not the test's."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as holder:
        path, own = f"/proc/{holder.pid}/ns/net", os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 5
        while os.readlink(path) == own:
            assert time.monotonic() < deadline, (
                "unshare created no namespace: these tests need root"
            )
            time.sleep(0.01)
        yield path
        holder.kill()


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Yield a path for the server's socket; pytest's directories can be too long for one."""
    with tempfile.TemporaryDirectory(prefix="ovnlet-cni-") as directory:
        yield Path(directory) / "run" / "cni.sock"


@dataclass(frozen=True, slots=True)
class UnansweredCalls:
    """Calls without an agent, by verb, with the future outcome of each."""

    socket: Path
    ends: dict[str, Future[Outcome]]


@pytest.fixture(scope="session", autouse=True)
def unanswered(
    plugin: Path, tmp_path_factory: pytest.TempPathFactory, netns: str
) -> Iterator[UnansweredCalls]:
    """Start the calls at the beginning of the session, since each waits for 20 s."""
    runtime = Runtime(plugin, tmp_path_factory.mktemp("away") / "run" / "cni.sock", netns)
    started = [(verb, _start(runtime, verb)) for verb in ("ADD", "CHECK", "GC")]
    with ThreadPoolExecutor(len(started)) as pool:
        yield UnansweredCalls(
            runtime.socket, {verb: pool.submit(_end, process) for verb, process in started}
        )
        for _, process in started:
            process.kill()


def _start(runtime: Runtime, verb: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [runtime.plugin], stdin=pipe, stdout=pipe, stderr=pipe, env=runtime.env(verb)
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(runtime.good(verb)).encode())
    process.stdin.flush()
    return process


def _end(process: "subprocess.Popen[bytes]") -> Outcome:
    begun = time.monotonic()
    stdout, stderr = process.communicate()
    return Outcome(process.returncode, stdout, stderr, time.monotonic() - begun)


@pytest.fixture
def runtime(plugin: Path, socket_path: Path, netns: str) -> Runtime:
    return Runtime(plugin, socket_path, netns)


@pytest_asyncio.fixture
async def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest_asyncio.fixture
async def server(agent: ScriptedAgent, socket_path: Path) -> AsyncIterator[Server]:
    server = Server(agent, socket_path)
    await server.start()
    keeping = asyncio.create_task(server.keep_listening())
    yield server
    keeping.cancel()
    await server.stop(0.1)
