"""A stream of JSON objects is split correctly however it is cut, and garbage raises an error."""

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovnlet.drivers.ovsdb.jsonrpc import Frames, Garbled, connect
from ovnlet.drivers.ovsdb.replica import Replica

words = st.text(alphabet='{}[]":\\, aé€😀', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(words, values, max_size=3), max_size=6)


def stream(sent: list[dict[str, object]], *, ascii_only: bool) -> list[bytes]:
    return [json.dumps(value, ensure_ascii=ascii_only).encode() for value in sent]


@given(sent=objects, cuts=st.lists(st.integers(1, 400), max_size=12), ascii_only=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_tearing_gives_the_same_objects(
    sent: list[dict[str, object]], cuts: list[int], ascii_only: bool
) -> None:
    data = b"".join(stream(sent, ascii_only=ascii_only))
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    frames = Frames()
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert [value for piece in pieces for value in frames.feed(piece)] == sent


@given(sent=objects)
@settings(max_examples=100, deadline=None)
def test_each_object_comes_with_its_last_byte(sent: list[dict[str, object]]) -> None:
    frames = Frames()
    for value, data in zip(sent, stream(sent, ascii_only=False), strict=True):
        came = [list(frames.feed(data[at : at + 1])) for at in range(len(data))]
        assert came == [[]] * (len(data) - 1) + [[value]]


@given(data=st.binary(min_size=1, max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_garbled_or_unfinished(data: bytes) -> None:
    frames = Frames()
    try:
        came = list(frames.feed(data))
    except Garbled:
        return
    assert came == [] or data.lstrip().startswith(b"{")


@pytest.mark.parametrize(
    "data", [b'{"a":1}}', b"[1]", b"7 ", b'{"a" 1}', b"\xff", b"{}x", b'{"a":' * 3000 + b"}" * 3000]
)
def test_what_is_no_object_is_named(data: bytes) -> None:
    with pytest.raises(Garbled):
        list(Frames().feed(data))


def test_a_dump_of_many_reads_costs_in_proportion_to_its_size() -> None:
    def seconds(rows: int) -> float:
        data = json.dumps(
            {"result": [{"name": f"p{n}", "ids": ["map", [["a{}", '"\\']]]} for n in range(rows)]}
        ).encode()
        pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        frames, start = Frames(), time.process_time()
        assert sum(1 for piece in pieces for _ in frames.feed(piece)) == 1
        return time.process_time() - start

    seconds(1000)
    assert seconds(80_000) < 40 * max(seconds(8_000), 0.001)


@pytest.mark.parametrize(
    "answer", [b"\x00\x01garbage", b'{"id":1,"result":', b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
async def test_a_server_that_talks_garbage_is_left_and_tried_again(
    tmp_path: Path, answer: bytes
) -> None:
    calls = 0
    again = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.write(answer)
        await writer.drain()
        writer.close()
        if calls == 2:
            again.set()

    path = str(tmp_path / "sock")
    listener = await asyncio.start_unix_server(talk, path)
    database = Replica(
        path, "Open_vSwitch", {"Bridge": ["name"]}, changed=lambda _: None, reloaded=lambda: None
    )
    database.start()
    async with asyncio.timeout(15):
        await again.wait()
    assert "connection to Open_vSwitch lost" in database.fault
    assert not database.connected.is_set()
    await database.close()
    listener.close()


async def test_a_call_ends_when_its_server_goes(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"{]}")
        writer.close()

    path = str(tmp_path / "sock")
    listener = await asyncio.start_unix_server(hang_up, path)
    peer = await connect(path, "a daemon")
    with pytest.raises(Garbled, match="a daemon lost: not JSON"):
        await peer.call("version", [])
    with pytest.raises(Garbled):
        await peer.call("version", [])
    listener.close()
