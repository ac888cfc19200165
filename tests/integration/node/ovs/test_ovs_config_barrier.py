"""A recreated port waits until ovs-vswitchd has removed the old one.

Otherwise ovs-vswitchd keeps its socket on the deleted link.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from integration.node.ovs.vswitch import (
    Hints,
    PrivateSwitch,
    desired_port,
    ensure,
    eventually,
    remove,
    until,
)
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import ABSENT
from ovnlet.drivers.ovs.config_barrier import INCREMENT_NEXT_CFG
from ovnlet.drivers.ovs.ports import Ovs


@contextmanager
def frozen(switch: PrivateSwitch) -> Iterator[None]:
    switch.signal("ovs-vswitchd", signal.SIGSTOP)
    try:
        yield
    finally:
        switch.signal("ovs-vswitchd", signal.SIGCONT)


async def test_vswitchd_adds_a_recreated_port_again(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    switch.ip("link", "add", port.name, "type", "veth", "peer", "name", "peer0")
    await ovs.writer.apply(ensure(port))
    await ovs.plugged(port.name)
    added = _additions(switch, port.name)
    switch.ip("link", "del", port.name)
    await ovs.writer.apply((*remove(port), *ensure(port)))
    switch.ip("link", "add", port.name, "type", "veth", "peer", "name", "peer0")
    await ovs.plugged(port.name)
    eventually(lambda: _additions(switch, port.name) > added)
    switch.ip("link", "del", port.name)
    await ovs.writer.apply(remove(port))


def _additions(switch: PrivateSwitch, name: str) -> int:
    return (switch.directory / "ovs-vswitchd.log").read_text().count(f"added interface {name} ")


async def test_a_frozen_vswitchd_delays_it_and_a_hint_follows(
    ovs: Ovs, switch: PrivateSwitch, hints: Hints, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    await ovs.writer.apply(ensure(port))
    with frozen(switch):
        with pytest.raises(NotReady, match="ovs-vswitchd"):
            await ovs.writer.apply((*remove(port), *ensure(port)))
        assert ovs.observe(attachment, ABSENT) == ABSENT
        with pytest.raises(
            NotReady, match=port.name
        ):  # a later pass, or a restarted agent, has only the ENSURE left
            await ovs.writer.apply(ensure(port))
        hints.changes.clear()
    await until(lambda: ("", port.name) in hints.changes)
    await ovs.writer.apply(ensure(port))
    assert ovs.observe(attachment, frozenset({port})) == {port}
    await ovs.writer.apply(remove(port))


async def test_each_call_to_ovn_controller_respells_the_bridge_socket(
    ovs: Ovs, switch: PrivateSwitch
) -> None:
    """Only a changed remote makes it connect at once; both spellings name the same socket."""
    spelled = []
    for _ in range(3):
        await ovs.call_controller()
        spelled.append(
            switch.vsctl("get", "Open_vSwitch", ".", "external_ids:ovn-bridge-remote").strip('"')
        )
    assert spelled == ["unix:br-int.mgmt", "unix:./br-int.mgmt", "unix:br-int.mgmt"]
    switch.vsctl("remove", "Open_vSwitch", ".", "external_ids", "ovn-bridge-remote")


@pytest.mark.review2
async def test_a_wait_does_not_starve_while_others_write(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    """L15: another client asks for a configuration all the time: `cur_cfg` always trails."""

    async def others() -> None:
        while True:
            await ovs._database.transact([INCREMENT_NEXT_CFG])

    port = desired_port(attachment)
    writing = [asyncio.create_task(others()) for _ in range(4)]
    try:
        for _ in range(5):
            await ovs.caught_up()
            await ovs.writer.apply(ensure(port))
            await ovs.writer.apply((*remove(port), *ensure(port)))
    finally:
        for task in writing:
            task.cancel()
    await ovs.writer.apply(remove(port))


async def test_a_report_that_was_lost_is_asked_for_again(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    """As on a full disk: ovs-vswitchd has applied everything, and its `cur_cfg` was not written."""
    port = desired_port(attachment)
    await ovs.caught_up()
    switch.vsctl("--no-wait", "set", "Open_vSwitch", ".", "cur_cfg=0")
    await until(lambda: ovs._index.root()[1]["cur_cfg"] == 0)  # type: ignore[index]
    with pytest.raises(NotReady, match=port.name):
        await ovs.writer.apply(ensure(port))
    await until(lambda: ovs._index.root()[1]["cur_cfg"] > 0)  # type: ignore[index]
    await ovs.writer.apply(ensure(port))
    await ovs.writer.apply(remove(port))
