"""Ports in a real Open vSwitch read back as written, and foreign rows and keys stay."""

import asyncio
from dataclasses import replace

import pytest
from ovsdbapp.backend.ovs_idl import connection
from ovsdbapp.schema.open_vswitch import impl_idl

from integration.node.ovs.vswitch import (
    Hints,
    PrivateSwitch,
    desired_port,
    ensure,
    eventually,
    remove,
    settled,
)
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import diff
from ovnlet.core.resources import ABSENT, DuplicateIfaceId, Port
from ovnlet.core.resources.ovs import MARK
from ovnlet.drivers.ovs.ports import Ovs


async def test_a_port_comes_back_as_it_was_put_in(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    assert ovs.observe(attachment, frozenset({port})) == {port}
    assert switch.vsctl("iface-to-br", port.name) == "br-int"
    assert switch.ids(port.name) == port.ids
    assert (port.name, port.ids["ovnlet"]) in [(name, mark) for name, mark, _ in ovs.labelled()]

    await ovs.writer.apply(remove(port))
    assert ovs.observe(attachment, ABSENT) == ABSENT
    assert switch.vsctl("--columns=name", "find", "Interface", f"name={port.name}") == ""


async def test_what_is_so_already_is_not_written(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    eventually(lambda: switch.vsctl("get", "Interface", port.name, "ofport") == "-1")
    before = switch.log.stat().st_size
    await ovs.writer.apply(ensure(port))
    await ovs.writer.apply(remove(replace(port, name="never_there_h")))
    await ovs.writer.apply(())
    assert switch.log.stat().st_size == before
    await ovs.writer.apply(remove(port))
    await ovs.writer.apply(remove(port))


async def test_keys_of_others_survive_each_of_our_writes(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    switch.vsctl(
        "set",
        "Interface",
        port.name,
        "external_ids:ovn-installed=true",
        "external_ids:foreign=a b",
    )
    switch.vsctl("set", "Port", port.name, "external_ids:foreign=p")
    await settled(ovs)
    changed = replace(
        port,
        external_ids=port.external_ids - {("ip", port.ids["ip"])} | {("pod_netns", "/run/netns/y")},
    )
    changed = replace(changed, external_ids=frozenset(changed.ids.items()))
    await ovs.writer.apply(ensure(changed))
    theirs = {"ovn-installed": "true", "foreign": "a b"}
    assert switch.ids(port.name) == {**changed.ids, **theirs}
    assert "ip" not in switch.ids(port.name)
    await ovs.writer.apply(ensure(port))
    assert switch.ids(port.name) == {**port.ids, **theirs}
    assert switch.vsctl("get", "Port", port.name, "external_ids:foreign") == "p"
    await ovs.writer.apply(remove(port))


@pytest.mark.parametrize(
    "damage",
    [
        ("remove", "Interface", "NAME", "external_ids", "iface-id"),
        ("set", "Interface", "NAME", "external_ids:iface-id=someone.else"),
        ("remove", "Interface", "NAME", "external_ids", MARK),
        ("set", "Interface", "NAME", f"external_ids:{MARK}=another/eth0"),
        ("remove", "Port", "NAME", "external_ids", MARK),
        ("clear", "Interface", "NAME", "external_ids"),
        ("clear", "Port", "NAME", "external_ids"),
    ],
)
async def test_altered_labels_are_hinted_seen_and_repaired(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, hints: Hints, damage: tuple[str, ...]
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    hints.changes.clear()
    switch.vsctl(*(port.name if word == "NAME" else word for word in damage))
    await settled(ovs)
    assert port.name in {name for _, name in hints.changes}
    plan = diff(frozenset({port}), ovs.observe(attachment, frozenset({port})))
    assert len(plan) == 1
    await ovs.writer.apply(plan)
    assert ovs.observe(attachment, frozenset({port})) == {port}
    assert switch.ids(port.name) == port.ids
    await ovs.writer.apply(remove(port))


async def test_a_foreign_port_is_refused_and_left_alone(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    switch.vsctl(
        "add-port",
        "br-int",
        port.name,
        "--",
        "set",
        "Interface",
        port.name,
        "external_ids:vendor=acme",
    )
    await settled(ovs)
    with pytest.raises(Taken, match=port.name):
        ovs.observe(attachment, frozenset({port}))
    assert ovs.observe(attachment, ABSENT) == ABSENT
    assert switch.ids(port.name) == {"vendor": "acme"}
    switch.vsctl("del-port", port.name)


async def test_a_port_of_kube_ovn_for_this_pod_is_adopted(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    labels = {
        "vendor": "kube-ovn",
        "pod_name": attachment.pod,
        "pod_namespace": attachment.namespace,
    }
    settings = [f"external_ids:{key}={value}" for key, value in labels.items()]
    switch.vsctl("add-port", "br-int", port.name, "--", "set", "Interface", port.name, *settings)
    await settled(ovs)
    theirs = {Port("br-int", port.name, frozenset(labels.items()))}
    assert ovs.observe(attachment, ABSENT) == theirs
    of_del = Attachment.of_deletion(attachment.container_id, attachment.ifname, "boot")
    assert ovs.observe(of_del, ABSENT) == theirs, "a DEL names the sandbox alone"
    await ovs.writer.apply(diff(frozenset({port}), ovs.observe(attachment, frozenset({port}))))
    assert ovs.observe(attachment, frozenset({port})) == {port}
    other = replace(
        attachment, pod="another-pod", container_id=attachment.container_id[:12] + "f" * 52
    )
    assert ovs.observe(other, ABSENT) == ABSENT
    await ovs.writer.apply(remove(port))


async def test_a_port_on_another_bridge_is_moved(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    switch.vsctl(
        "--may-exist", "add-br", "br-x", "--", "set", "Bridge", "br-x", "datapath_type=netdev"
    )
    mark = f"external_ids:{MARK}={port.ids[MARK]}"
    switch.vsctl(
        "del-port",
        port.name,
        "--",
        "add-port",
        "br-x",
        port.name,
        "--",
        "set",
        "Interface",
        port.name,
        mark,
    )
    await settled(ovs)
    observed = ovs.observe(attachment, frozenset({port}))
    assert {found.bridge for found in observed if isinstance(found, Port)} == {"br-x"}
    await ovs.writer.apply(diff(frozenset({port}), observed))
    assert ovs.observe(attachment, frozenset({port})) == {port}
    assert switch.vsctl("iface-to-br", port.name) == "br-int"
    await ovs.writer.apply(remove(port))
    switch.vsctl("del-br", "br-x")


async def test_a_duplicate_iface_id_is_removed(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, hints: Hints
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    iface_id = port.ids["iface-id"]
    hints.changes.clear()
    rows = ("external_ids:foreign=1", f"external_ids:iface-id={iface_id}")
    switch.vsctl("add-port", "br-int", "dup", "--", "set", "Interface", "dup", *rows)
    await settled(ovs)
    assert (port.ids[MARK], port.name) in hints.changes
    observed = ovs.observe(attachment, frozenset({port}))
    assert observed == {port, DuplicateIfaceId("dup", iface_id)}
    await ovs.writer.apply(diff(frozenset({port}), observed))
    assert switch.ids("dup") == {"foreign": "1"}
    assert ovs.observe(attachment, frozenset({port})) == {port}
    await ovs.writer.apply(remove(port))
    switch.vsctl("del-port", "dup")


async def test_a_port_with_qos_is_removed(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    switch.vsctl(
        "set", "Port", port.name, "qos=@q", "--", "--id=@q", "create", "QoS", "type=linux-htb"
    )
    await ovs.writer.apply(remove(port))
    assert ovs.observe(attachment, ABSENT) == ABSENT
    switch.vsctl("--all", "destroy", "QoS")


async def test_a_port_removed_by_others_is_hinted(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment, hints: Hints
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    hints.changes.clear()
    switch.vsctl("del-port", port.name)
    await settled(ovs)
    assert set(hints.changes) == {(port.ids[MARK], port.name)}
    assert len(hints.changes) == 1


async def test_without_the_bridge_it_is_not_ready(ovs: Ovs, attachment: Attachment) -> None:
    with pytest.raises(NotReady, match="br-none"):
        await ovs.writer.apply(ensure(desired_port(attachment, bridge="br-none")))


async def test_ovsdbapp_and_we_see_and_repair_the_same(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    """ovsdbapp is an independent client with its own schema reader and transactions."""
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))

    def foreign() -> tuple[dict[str, str], str]:
        idl = connection.OvsdbIdl.from_server(f"unix:{switch.socket}", "Open_vSwitch")
        link = connection.Connection(idl, timeout=5)
        api = impl_idl.OvsdbIdl(link)
        try:
            seen = dict(
                api.db_get("Interface", port.name, "external_ids").execute(check_error=True)
            )
            bridge = str(api.iface_to_br(port.name).execute(check_error=True))
            theirs = ("external_ids", {"iface-id": "moved", "theirs": "1"})
            api.db_set("Interface", port.name, theirs).execute(check_error=True)
            return seen, bridge
        finally:
            link.stop()

    assert await asyncio.to_thread(foreign) == (port.ids, "br-int")
    await settled(ovs)
    await ovs.writer.apply(diff(frozenset({port}), ovs.observe(attachment, frozenset({port}))))
    assert switch.ids(port.name) == {**port.ids, "theirs": "1"}
    await ovs.writer.apply(remove(port))
