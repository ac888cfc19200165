"""The plugin without a working agent: it is down, restarting, hanging, or another program."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from integration.cni.agents import ScriptedAgent
from integration.cni.conftest import UnansweredCalls
from integration.cni.runtime import Runtime, ended
from ovnlet_cni.errors import Code
from ovnlet_cni.pending_deletes import MAX_PENDING, PendingDelete, PendingDeletes
from ovnlet_cni.server import Server


@asynccontextmanager
async def fake_server(path: Path, answer: bytes | None) -> AsyncIterator["asyncio.Queue[bytes]"]:
    """Listen, answer with these bytes and close, or for None stay silent; yield the requests."""
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await got.put(await reader.read(4096))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    listening = await asyncio.start_unix_server(talk, path)
    yield got
    listening.close()


async def test_an_add_waits_for_the_agent_that_comes(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    process = await runtime.hang("ADD")
    await asyncio.sleep(1)
    server = Server(agent, runtime.socket)
    await server.start()
    outcome = await ended(process)
    assert outcome.code == 0
    assert outcome.seconds < 1, "the plugin must look for the agent every 50 ms"
    await server.stop()


async def test_a_request_is_sent_again_when_the_agent_dies(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    async with fake_server(runtime.socket, b"") as got:
        process = await runtime.hang("ADD")
        assert await got.get() == await got.get(), "the request changed when it was sent again"
    server = Server(agent, runtime.socket)
    await server.start()
    assert (await ended(process)).code == 0
    assert len(agent.calls) == 1
    await server.stop()


def test_without_an_agent_calls_end_after_20_seconds_with_code_11(
    unanswered: UnansweredCalls,
) -> None:
    for end in unanswered.ends.values():
        outcome = end.result(timeout=25)
        assert outcome.code == Code.TRY_AGAIN
        assert 19.5 < outcome.seconds < 24
        assert str(unanswered.socket) in str(outcome.error["msg"])
        assert "No such file" in str(outcome.error["msg"])
        assert "ovnlet pod" in str(outcome.error["details"])
    assert not unanswered.socket.parent.exists()


async def test_status_never_waits(runtime: Runtime) -> None:
    begun = time.monotonic()
    outcome = await runtime.call("STATUS")
    assert outcome.code == Code.UNAVAILABLE
    assert time.monotonic() - begun < 1


async def test_status_of_a_stuck_agent_ends(runtime: Runtime) -> None:
    async with fake_server(runtime.socket, None):
        outcome = await runtime.call("STATUS")
    assert outcome.code == Code.UNAVAILABLE
    assert outcome.seconds < 5
    assert "in time" in str(outcome.error["msg"])


TORN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 200 OK\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    b"HTTP/1.1 2xx OK\r\nContent-Length: 2\r\n\r\n{}",
    b"220 mail.example.org ESMTP\r\n\r\n",
    b"\x00" * 20000,
]
FOREIGN = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n404: Not Found",
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n[]",
]


@pytest.mark.parametrize("answer", TORN, ids=lambda answer: repr(answer[:60]))
async def test_an_answer_that_breaks_off(runtime: Runtime, answer: bytes) -> None:
    async with fake_server(runtime.socket, answer):
        assert (await runtime.call("ADD")).code == Code.TRY_AGAIN
        assert (await runtime.call("STATUS")).code == Code.UNAVAILABLE


@pytest.mark.parametrize("answer", FOREIGN, ids=lambda answer: repr(answer[:60]))
async def test_an_answer_that_is_no_result(runtime: Runtime, answer: bytes) -> None:
    async with fake_server(runtime.socket, answer):
        assert (await runtime.call("ADD")).code == Code.INTERNAL


async def test_a_socket_that_is_none(runtime: Runtime) -> None:
    runtime.socket.parent.mkdir()
    runtime.socket.mkdir()
    assert (await runtime.call("STATUS")).code == Code.UNAVAILABLE


async def test_a_delete_is_noted_down_and_succeeds(runtime: Runtime) -> None:
    notes = PendingDeletes.beside(runtime.socket)
    assert notes.read().deletes == ()
    ids = ("c0ffee", "a.b_c-d", "x" * 200)
    envs = [
        runtime.env("DEL", CNI_CONTAINERID=id_, CNI_IFNAME="net1.7", CNI_NETNS=None) for id_ in ids
    ]
    for outcome in await asyncio.gather(*(runtime.call("DEL", env=env) for env in (*envs, *envs))):
        assert (outcome.exit_code, outcome.stdout) == (0, b"")
        assert 1.8 < outcome.seconds < 5
    listing = notes.read()
    assert set(listing.deletes) == {PendingDelete(id_, "net1.7") for id_ in ids}
    assert listing.skipped == ()
    directory = runtime.socket.parent / "deleted"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


async def test_a_delete_that_an_agent_dropped_is_noted_down(runtime: Runtime) -> None:
    async with fake_server(runtime.socket, TORN[0]):
        assert (await runtime.call("DEL")).code == 0
    assert PendingDeletes.beside(runtime.socket).read().deletes == (
        PendingDelete("c0ffee", "eth0"),
    )


async def test_a_delete_of_something_else_is_not_noted_down(runtime: Runtime) -> None:
    changes = ({"CNI_CONTAINERID": "../x"}, {"CNI_IFNAME": "a/b"}, {"CNI_CONTAINERID": ""})
    calls = (runtime.call("DEL", env=runtime.env("DEL", **change)) for change in changes)
    assert [outcome.code for outcome in await asyncio.gather(*calls)] == [
        Code.INVALID_ENVIRONMENT
    ] * 3
    assert not runtime.socket.parent.exists()


async def test_notes_are_bounded(runtime: Runtime) -> None:
    directory = runtime.socket.parent / "deleted"
    directory.mkdir(parents=True)
    for number in range(MAX_PENDING - 1):
        (directory / f"{number}.eth0").write_text(f"{number} eth0\n")
    first, second = (
        runtime.env("DEL", CNI_CONTAINERID="first"),
        runtime.env("DEL", CNI_CONTAINERID="second"),
    )
    assert (await runtime.call("DEL", env=first)).code == 0
    outcome = await runtime.call("DEL", env=second)
    assert outcome.code == Code.TRY_AGAIN
    assert (
        len(list(directory.iterdir()))
        == MAX_PENDING
        == len(PendingDeletes(directory).read().deletes)
    )


async def test_a_new_add_and_a_served_delete_end_a_note(
    runtime: Runtime, server: Server, agent: ScriptedAgent
) -> None:
    directory = runtime.socket.parent / "deleted"
    for verb in ("ADD", "DEL"):
        directory.mkdir(exist_ok=True)
        (directory / "c0ffee.eth0").write_text("c0ffee eth0\n")
        assert (await runtime.call(verb)).code == 0
        assert PendingDeletes(directory).read().deletes == ()


def test_what_is_no_note_is_skipped_and_reported(tmp_path: Path) -> None:
    contents = {
        "torn.eth0": "torn e",
        "empty.eth0": "",
        "other.eth0": "another eth0\n",
        "README": "hello\n",
        "bad.e0": "b/d e0\n",
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.eth0").symlink_to(tmp_path / "good.eth0")
    (tmp_path / "good.eth0").write_text("good eth0\n")
    (tmp_path / ".good.eth0.1").write_text("an unfinished file")
    notes = PendingDeletes(tmp_path)
    listing = notes.read()
    assert listing.deletes == (PendingDelete("good", "eth0"),)
    assert set(listing.skipped) == {*contents, "folder", "link.eth0"}
    notes.remove("good", "eth0")
    notes.remove("good", "eth0")
    assert notes.read().deletes == ()
    assert (tmp_path / "torn.eth0").exists()
