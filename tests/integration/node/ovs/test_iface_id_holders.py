"""Which live ports of a real Open vSwitch have an `iface-id`."""

from dataclasses import replace

import pytest

from integration.node.ovs.vswitch import PrivateSwitch, desired_port, ensure, remove, until
from ovnlet.core.identity import Attachment
from ovnlet.drivers.ovs.ports import Ovs


@pytest.mark.review2
async def test_l8_a_plugged_port_of_others_holds_its_iface_id(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    """L8: who holds an `iface-id` was not asked; a port without a link holds nothing."""
    other = replace(attachment, container_id="f" * 64, host_link="")
    ours = desired_port(other)
    await ovs.writer.apply(ensure(ours))
    iface_id = attachment.iface_id
    row = f"-- set Interface tap7 type=internal external_ids:iface-id={iface_id}"
    switch.vsctl("add-port", "br-int", "tap7", *row.split())
    await until(lambda: ovs.is_plugged("tap7"))
    found = {name: (mark, labels["iface-id"]) for name, mark, labels in ovs.holding(iface_id)}
    assert found == {"tap7": (None, iface_id), ours.name: (ours.ids["ovnlet"], iface_id)}
    assert not ovs.is_plugged(ours.name), "it has no link, so it holds nothing"
    assert not list(ovs.holding("nobody.default"))
    switch.vsctl("del-port", "tap7")
    await ovs.writer.apply(remove(ours))
