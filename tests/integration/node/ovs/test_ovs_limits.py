"""Limits in a real Open vSwitch.

Their rows are written in one transaction with the port, tc shows the qdisc, damage is repaired.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from integration.node.ovs.vswitch import (
    PrivateSwitch,
    desired_port,
    ensure,
    eventually,
    remove,
    settled,
    until,
)
from ovnlet.core import shaping
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.plan import Step, Verb, diff
from ovnlet.core.qos import Impairment, Limit, Qos
from ovnlet.core.resources import ABSENT, Network, OvsPolicing, OvsQos, Port, Resource, Veth
from ovnlet.drivers.ovs.ports import Ovs

MBIT = 1_000_000
BOTH = Qos(Limit(5 * MBIT), Limit(3 * MBIT, 2 * MBIT))
NODE = Node("br-int", 1400, userspace=True)


def limits(port: Port, attachment: Attachment, qos: Qos = BOTH) -> frozenset[OvsQos | OvsPolicing]:
    veth = Veth(port.name, "eth0", "02:00:00:00:00:01", 1400, "")
    made = shaping.resources(attachment, qos, port, veth, NODE)
    return frozenset(each for each in made if isinstance(each, OvsQos | OvsPolicing))


def steps(*resources: Resource) -> list[Step]:
    return [Step(Verb.ENSURE, resource) for resource in resources]


def rows(switch: PrivateSwitch, table: str, attachment: Attachment) -> list[Any]:
    mark = f"external_ids:ovnlet={attachment.container_id}/eth0"
    found = switch.vsctl(
        "--format=json", "--columns=_uuid,other_config,external_ids", "find", table, mark
    )
    return list(json.loads(found)["data"])


@pytest.fixture
async def port(ovs: Ovs, switch: PrivateSwitch, attachment: Attachment) -> AsyncIterator[Port]:
    """Yield a port with limits in both directions, made in one transaction.

    Remove it at the end, and fail if any row is left.
    """
    port = desired_port(attachment)
    before = switch.commits()
    await ovs.writer.apply([*ensure(port), *steps(*limits(port, attachment))])
    assert switch.commits() - before <= 2  # ours, and ovs-vswitchd's reply
    yield port
    await ovs.writer.apply(
        [
            Step(Verb.REMOVE, each)
            for each in ovs.observe(attachment, ABSENT)
            if isinstance(each, Port)
        ]
    )
    await settled(ovs)
    assert ovs.observe(attachment, ABSENT) == ABSENT
    assert (rows(switch, "QoS", attachment), rows(switch, "Queue", attachment)) == ([], [])


def wanted(port: Port, attachment: Attachment, qos: Qos = BOTH) -> Network:
    return frozenset({port, *limits(port, attachment, qos)})


async def test_limits_come_back_as_they_were_put_in(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port
) -> None:
    assert ovs.observe(attachment, ABSENT) == wanted(port, attachment)
    assert (
        switch.vsctl(
            "get", "Interface", port.name, "ingress_policing_rate", "ingress_policing_burst"
        )
        == "3000\n2000"
    )
    ((_, queue, labels),) = rows(switch, "Queue", attachment)
    assert dict(queue[1]) == {"max-rate": "5000000", "burst": "500000"}
    assert dict(labels[1])["pod"] == f"{attachment.namespace}/{attachment.pod}"
    assert dict(labels[1])["iface-id"] == f"{attachment.pod}.{attachment.namespace}"


DESTROY_QOS, DESTROY_QUEUE = ("--", "destroy", "QoS", "QOS"), ("--", "destroy", "Queue", "QUEUE")
DAMAGE = [
    ("clear", "Port", "NAME", "qos"),
    ("clear", "Port", "NAME", "qos", *DESTROY_QOS),
    ("clear", "Port", "NAME", "qos", *DESTROY_QOS, *DESTROY_QUEUE),
    ("clear", "QoS", "QOS", "queues", *DESTROY_QUEUE),
    ("set", "Queue", "QUEUE", "other_config:max-rate=1"),
    ("set", "QoS", "QOS", "other_config:max-rate=1"),
    ("set", "QoS", "QOS", "type=linux-noop"),
    ("clear", "QoS", "QOS", "external_ids"),
    ("clear", "Queue", "QUEUE", "external_ids"),
    ("remove", "QoS", "QOS", "external_ids", "ovnlet"),
    ("remove", "Queue", "QUEUE", "external_ids", "ovnlet"),
    ("set", "Interface", "NAME", "ingress_policing_rate=0"),
    ("set", "Interface", "NAME", "ingress_policing_burst=1"),
    ("--id=@q", "create", "QoS", "type=linux-htb", "--", "set", "Port", "NAME", "qos=@q"),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda words: " ".join(words)[:60])
async def test_damage_is_seen_and_repaired(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port, damage: tuple[str, ...]
) -> None:
    ((qos, *_),), ((queue, *_),) = (
        rows(switch, "QoS", attachment),
        rows(switch, "Queue", attachment),
    )
    names = {"NAME": port.name, "QOS": qos[1], "QUEUE": queue[1]}
    switch.vsctl(*(names.get(word, word) for word in damage))
    await settled(ovs)
    desired = wanted(port, attachment)
    plan = diff(desired, ovs.observe(attachment, desired))
    assert len(plan) == 1
    await ovs.writer.apply(plan)
    await settled(ovs)
    assert ovs.observe(attachment, desired) == desired
    assert (len(rows(switch, "QoS", attachment)), len(rows(switch, "Queue", attachment))) == (1, 1)
    for foreign in switch.vsctl(
        "--bare", "--columns=_uuid", "find", "QoS", "external_ids={}"
    ).split():
        switch.vsctl("destroy", "QoS", foreign)


async def test_a_row_with_a_foreign_reference_is_released(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port
) -> None:
    """A referenced row cannot be deleted: it stays unlabelled, and the port gets new rows."""
    ((qos, *_),), ((queue, *_),) = (
        rows(switch, "QoS", attachment),
        rows(switch, "Queue", attachment),
    )
    switch.vsctl(
        "--may-exist", "add-port", "br-int", "other", "--", "set", "Port", "other", f"qos={qos[1]}"
    )
    row = ("create", "QoS", "type=linux-htb", f"queues:7={queue[1]}", "external_ids:vendor=other")
    foreign = switch.vsctl(*row)
    switch.vsctl("set", "Queue", queue[1], "other_config:max-rate=1")
    await settled(ovs)
    desired = wanted(port, attachment)
    await ovs.writer.apply(diff(desired, ovs.observe(attachment, desired)))
    await settled(ovs)
    assert ovs.observe(attachment, desired) == desired
    assert switch.vsctl("get", "Port", "other", "qos") == qos[1]
    assert queue[1] in switch.vsctl("get", "QoS", foreign, "queues")
    for table, uuid in (("QoS", qos[1]), ("Queue", queue[1])):
        assert switch.vsctl("get", table, uuid, "external_ids") == "{}"
    switch.vsctl("del-port", "other")
    switch.vsctl("destroy", "QoS", qos[1], foreign, "--", "destroy", "Queue", queue[1])


async def test_an_edit_and_a_withdrawal(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port
) -> None:
    for qos in (
        Qos(Limit(20 * MBIT)),
        Qos(impairment=Impairment(10_000)),
        Qos(egress=Limit(MBIT)),
        Qos(),
    ):
        desired = wanted(port, attachment, qos)
        await ovs.writer.apply(diff(desired, ovs.observe(attachment, desired)))
        await settled(ovs)
        assert ovs.observe(attachment, desired) == desired
        shaped = bool(qos.ingress or qos.impairment)
        assert (len(rows(switch, "QoS", attachment)), len(rows(switch, "Queue", attachment))) == (
            shaped,
            shaped,
        )
    assert switch.vsctl("get", "Port", port.name, "qos") == "[]"


async def test_rows_of_a_deleted_port_are_found(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port
) -> None:
    switch.vsctl("del-port", port.name)
    await settled(ovs)
    (stray,) = ovs.observe(attachment, ABSENT)
    assert isinstance(stray, OvsQos)
    assert f"{attachment.container_id}/eth0" in ovs.shaped()
    await ovs.writer.apply(diff(ABSENT, frozenset({stray})))
    await settled(ovs)
    assert ovs.observe(attachment, ABSENT) == ABSENT
    assert rows(switch, "QoS", attachment) == []


@pytest.mark.parametrize("claimed", [True, False])
async def test_rows_that_kube_ovn_made_are_taken_over(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port, claimed: bool
) -> None:
    """Its port is adopted; its rows must be removed, even if the port has lost its `iface-id`."""
    labels = f"external_ids:iface-id={port.ids['iface-id']}"
    queue = ("--id=@k", "create", "Queue", "other_config:max-rate=1", labels)
    qos = ("--id=@q", "create", "QoS", "type=linux-htb", "queues:0=@k", labels)
    made = switch.vsctl(*queue, "--", *qos, "--", "set", "Port", port.name, "qos=@q").split()
    if not claimed:
        switch.vsctl("remove", "Interface", port.name, "external_ids", "iface-id")
    await settled(ovs)
    desired = wanted(port, attachment)
    await ovs.writer.apply(diff(desired, ovs.observe(attachment, desired)))
    left = switch.vsctl("--bare", "--columns=_uuid", "list", "QoS") + switch.vsctl(
        "--bare", "--columns=_uuid", "list", "Queue"
    )
    assert not any(uuid in listed for uuid in made for listed in left)


async def test_a_hundred_races_of_add_and_del_leave_no_row(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    """Each ADD runs together with its DEL; they commit in either order."""

    async def add_and_delete(number: int) -> None:
        one = replace(
            attachment, container_id=f"{number:012x}".ljust(64, "f"), pod=f"race-{number}"
        )
        port = desired_port(one)
        wanted = [*ensure(port), *steps(*limits(port, one))]
        adding = asyncio.ensure_future(ovs.writer.apply(wanted))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        await ovs.writer.apply(remove(port))
        await adding
        await ovs.writer.apply(diff(ABSENT, ovs.observe(one, ABSENT)))

    await asyncio.gather(*map(add_and_delete, range(100)))
    await settled(ovs)
    assert not [mark for mark in ovs.shaped() if mark.partition("/")[0].endswith("f")]
    assert "ffff/eth0" not in switch.vsctl("--columns=external_ids", "list", "QoS")
    assert "ffff/eth0" not in switch.vsctl("--columns=external_ids", "list", "Queue")
    assert "referential integrity" not in (switch.directory / "ovs-vswitchd.log").read_text()


def classes(switch: PrivateSwitch, name: str) -> str:
    enter = ["nsenter", f"--net=/proc/{switch.pid('ovs-vswitchd')}/ns/net"]
    return subprocess.run(
        [*enter, "tc", "class", "show", "dev", name], capture_output=True, text=True, check=True
    ).stdout


async def test_a_deleted_qdisc_comes_back(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port
) -> None:
    """The driver clears the port's qos and sets it again after ovs-vswitchd saw that: 10 of 10."""
    switch.ip(
        "link", "add", "name", port.name, "type", "veth", "peer", "name", f"p{port.name[-8:]}"
    )
    try:
        await until(lambda: "ceil 5Mbit" in classes(switch, port.name))
        for _ in range(10):
            enter = ["nsenter", f"--net=/proc/{switch.pid('ovs-vswitchd')}/ns/net"]
            subprocess.run([*enter, "tc", "qdisc", "del", "dev", port.name, "root"], check=True)
            await ovs.caught_up()
            assert "ceil 5Mbit" not in classes(switch, port.name)
            await ovs.reapply.qdisc(port.name)
            assert "ceil 5Mbit" in classes(switch, port.name)
    finally:
        switch.ip("link", "del", port.name)
    eventually(lambda: not switch.has_link(port.name))


async def test_a_renewed_filter_leaves_the_columns_as_they_were(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, port: Port
) -> None:
    """Without a rate there is nothing to apply again."""
    before, seen = ovs.observe(attachment, ABSENT), switch.commits()
    await ovs.reapply.filter(port.name)
    await settled(ovs)
    assert ovs.observe(attachment, ABSENT) == before
    assert switch.commits() - seen >= 4  # another burst, the wanted one, and a barrier after each
    desired = wanted(port, attachment, Qos())
    await ovs.writer.apply(diff(desired, ovs.observe(attachment, desired)))
    await settled(ovs)
    with pytest.raises(NotReady, match="has lost its ingress_policing_rate"):
        await ovs.reapply.filter(port.name)
