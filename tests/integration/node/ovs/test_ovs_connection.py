"""A database that restarts, hangs or is wiped: the driver notices and reads it again."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.node.ovs.vswitch import Hints, PrivateSwitch, desired_port, ensure, until
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import ABSENT
from ovnlet.drivers.ovs.ports import _TABLES, Ovs
from ovnlet.drivers.ovsdb.replica import Op, Replica


@pytest.fixture
async def driver(server: PrivateSwitch, hints: Hints) -> AsyncIterator[Ovs]:
    async for ovs in hints.driver(server):
        yield ovs


async def test_rows_changed_while_the_server_was_down(
    driver: Ovs, server: PrivateSwitch, hints: Hints, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await driver.writer.apply(ensure(port))
    waiting = asyncio.create_task(driver.installed(port.name))
    server.vsctl("set", "Interface", port.name, "ofport=5")
    await driver.plugged(port.name)
    session, lost = driver._database.session, hints.lost
    server.kill("ovsdb-server")
    await until(driver.health)
    with pytest.raises(NotReady, match="OVSDB connection lost"):
        driver.observe(attachment, ABSENT)
    with pytest.raises(NotReady):
        await driver.writer.apply(ensure(desired_port(attachment, ip="10.0.0.9")))
    with pytest.raises(TimeoutError):  # the state before the loss may be out of date
        async with asyncio.timeout(0.05):
            await driver.plugged(port.name)
    server.start_server()
    server.vsctl(
        "set", "Interface", port.name, "external_ids:ovn-installed=true", "external_ids:ip=1.2.3.4"
    )
    async with asyncio.timeout(15):
        await driver.ready()
        await waiting  # it survived the reconnect
    await until(lambda: driver.observe(attachment, ABSENT) != {port})
    assert driver._database.session == session + 1
    assert hints.lost == lost + 1
    assert driver.health() is None
    (seen,) = driver.observe(attachment, frozenset({port}))
    await driver.writer.apply(ensure(port))
    assert driver.observe(attachment, frozenset({port})) == {port} != {seen}


async def test_a_wiped_database_is_seen_empty(
    driver: Ovs, server: PrivateSwitch, hints: Hints, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await driver.writer.apply(ensure(port))
    server.kill("ovsdb-server")
    server.recreate()
    server.start_server(init=False)
    await until(lambda: hints.lost == 2)
    assert driver.observe(attachment, frozenset({port})) == ABSENT
    with pytest.raises(NotReady, match="no bridge br-int"):
        await driver.writer.apply(ensure(port))
    keys = {"system-id": "node-1", "ovn-encap-ip": "192.0.2.1"}
    await driver.ensure_chassis(keys, "netdev")
    assert hints.lost == 3  # the bridge is back: everything is observed again
    await driver.writer.apply(ensure(port))
    assert server.vsctl("list-ports", "br-int") == port.name


async def test_a_server_that_hangs_is_noticed_and_its_late_commit_found(
    driver: Ovs, server: PrivateSwitch, hints: Hints, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    loop = asyncio.get_running_loop()
    server.signal("ovsdb-server", signal.SIGSTOP)
    stopped = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await driver.writer.apply(ensure(port))
    await until(lambda: "does not answer" in (driver.health() or ""))
    assert loop.time() - stopped < 9
    await asyncio.sleep(max(0.0, 5 - (loop.time() - stopped)))
    server.signal("ovsdb-server", signal.SIGCONT)
    await until(lambda: hints.lost == 2)
    # The commit timed out but was done: the driver sees it, and a repeated apply writes nothing.
    assert driver.observe(attachment, frozenset({port})) == {port}
    commits = server.commits()
    await driver.writer.apply(ensure(port))
    assert server.commits() == commits


async def test_a_commit_under_way_ends_with_the_connection(
    driver: Ovs, server: PrivateSwitch, attachment: Attachment
) -> None:
    server.signal("ovsdb-server", signal.SIGSTOP)
    applying = asyncio.create_task(driver.writer.apply(ensure(desired_port(attachment))))
    await asyncio.sleep(0.05)
    server.kill("ovsdb-server")
    async with asyncio.timeout(10):
        with pytest.raises(NotReady, match="lost"):
            await applying


async def test_ofport_goes_from_nothing_to_minus_one_to_a_number(
    driver: Ovs, server: PrivateSwitch, attachment: Attachment
) -> None:
    """A `modify` has an optional column's new value, but only the difference of a map or set."""
    port = desired_port(attachment)
    await driver.writer.apply(ensure(port))
    plugged = asyncio.create_task(driver.plugged(port.name))
    for settings, expected in (
        (["ofport=-1", 'error="could not open network device x (No such device)"'], -1),
        (["ofport=17", "error=[]"], 17),
        (["ofport=[]"], None),
        (["ofport=17"], 17),
    ):
        server.vsctl("set", "Interface", port.name, *settings)
        await until(lambda expected=expected: _ofport(driver, port.name) == expected)  # type: ignore[misc]
    async with asyncio.timeout(10):
        await plugged


def _ofport(driver: Ovs, name: str) -> object:
    row = driver._index.interface(name)
    return row and row["ofport"]


async def test_the_chassis_is_ensured_key_by_key(
    driver: Ovs, server: PrivateSwitch, hints: Hints
) -> None:
    server.vsctl(
        "set",
        "Open_vSwitch",
        ".",
        "external_ids:ovn-bridge-mappings=a:b",
        "external_ids:system-id=old",
    )
    await until(lambda: driver.chassis.get("system-id") == "old")
    keys = {
        "system-id": "node-1",
        "ovn-remote": "tcp:192.0.2.9:6642",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": "192.0.2.1,192.0.2.2",
        "ovn-bridge-datapath-type": "netdev",
    }
    assert "ovn-encap-ip" not in driver.chassis
    assert not driver.userspace
    await driver.ensure_chassis(keys, "netdev")
    assert driver.chassis == keys
    assert driver.datapath_type == "netdev"
    assert driver.userspace
    assert server.vsctl("get", "Bridge", "br-int", "fail_mode") == "secure"
    assert server.vsctl("get", "Open_vSwitch", ".", "external_ids:ovn-bridge-mappings") == '"a:b"'
    commits, lost = server.commits(), hints.lost
    await driver.ensure_chassis(keys, "netdev")
    assert server.commits() == commits
    server.vsctl("remove", "Open_vSwitch", ".", "external_ids", "ovn-remote")
    await until(lambda: hints.lost > lost)
    with pytest.raises(ValueError, match="ovn-bridge-mappings"):
        await driver.ensure_chassis({"ovn-bridge-mappings": "x"}, "netdev")


async def test_a_database_without_our_tables_is_named(server: PrivateSwitch) -> None:
    database = Replica(
        str(server.socket), "Open_vSwitch", {"Bridge": ["nonsense"]}, changed=print, reloaded=print
    )
    database.start()
    await until(lambda: "nonsense" in database.fault)
    await database.close()


def random_write(chance: random.Random, name: str) -> Op:
    """Return a random change of a map, an optional number or text, or a set of an Interface."""
    where = [["name", "==", name]]
    key, value = f"k{chance.randrange(4)}", f"v{chance.randrange(3)}"
    changes: list[Op] = [
        {"op": "mutate", "mutations": [["external_ids", "delete", ["set", [key]]]]},
        {"op": "mutate", "mutations": [["external_ids", "insert", ["map", [[key, value]]]]]},
        {"op": "update", "row": {"external_ids": ["map", [[key, value], ["x", "y"]]]}},
        {"op": "update", "row": {"ofport": chance.choice([["set", []], -1, chance.randrange(9)])}},
        {"op": "update", "row": {"error": chance.choice([["set", []], value])}},
        {
            "op": "update",
            "row": {"cfm_remote_mpids": ["set", chance.sample(range(1, 6), chance.randrange(5))]},
        },
        {"op": "mutate", "mutations": [["cfm_remote_mpids", "insert", chance.randrange(1, 6)]]},
    ]
    return {"table": "Interface", "where": where, **chance.choice(changes)}


async def test_rows_followed_by_differences_equal_a_fresh_dump(server: PrivateSwitch) -> None:
    tables = {**_TABLES, "Interface": (*_TABLES["Interface"], "cfm_remote_mpids")}

    def database() -> Replica:
        return Replica(
            str(server.socket),
            "Open_vSwitch",
            tables,
            changed=lambda _: None,
            reloaded=lambda: None,
        )

    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    follower, writer, fresh = database(), database(), database()
    follower.start()
    writer.start()
    await until(lambda: follower.connected.is_set() and writer.connected.is_set())
    for number in range(4):
        server.vsctl("add-port", "br-int", f"p{number}")
    for _ in range(300):
        await writer.transact(
            [random_write(chance, f"p{chance.randrange(4)}") for _ in range(chance.randrange(1, 4))]
        )
    server.vsctl("del-port", "p1")
    for each in (follower, writer):
        await each.transact([{"op": "comment", "comment": "earlier updates are in our rows"}])
    fresh.start()
    await until(fresh.connected.is_set)
    assert follower.rows == writer.rows == fresh.rows, f"seed {seed}"
    for each in (follower, writer, fresh):
        await each.close()


async def test_changes_that_come_in_one_read_with_the_dump_are_not_lost(tmp_path: Path) -> None:
    """Dump and update must arrive in one read, which no real server can be made to do."""
    schema = {"version": "1", "tables": {"Bridge": {"columns": {"name": {"type": "string"}}}}}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(json.dumps({"id": 1, "result": schema, "error": None}).encode())
        await reader.read(4096)
        dump = {"id": 2, "result": {"Bridge": {"u1": {"initial": {"name": "a"}}}}, "error": None}
        update = {
            "method": "update2",
            "params": [None, {"Bridge": {"u1": {"modify": {"name": "b"}}}}],
            "id": None,
        }
        writer.write((json.dumps(dump) + json.dumps(update)).encode())
        await reader.read(4096)

    listener = await asyncio.start_unix_server(talk, tmp_path / "sock")
    tables = {"Bridge": ("name",)}
    database = Replica(
        str(tmp_path / "sock"), "x", tables, changed=lambda _: None, reloaded=lambda: None
    )
    database.start()
    await until(database.connected.is_set)
    assert database.rows == {"Bridge": {"u1": {"name": "b"}}}
    await database.close()
    listener.close()
