"""Concurrent callers share transactions, and an invalid member fails alone."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from integration.node.ovs.vswitch import PrivateSwitch, desired_port, ensure, eventually, remove
from ovnlet.core.errors import NodeFault
from ovnlet.core.identity import Attachment
from ovnlet.core.resources import Port
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb.replica import Ended, Op


def ports(attachment: Attachment, number: int) -> list[Port]:
    port = desired_port(attachment)
    return [replace(port, name=f"{attachment.sequence:x}x{n}_h") for n in range(number)]


async def test_fifty_at_once_are_two_transactions(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    many = ports(attachment, 50)
    send = ovs._database.begin
    transactions = 0

    def counted(ops: Sequence[Op], ended: Ended) -> None:
        nonlocal transactions
        transactions += 1
        send(ops, ended)

    ovs._database.begin = counted  # type: ignore[method-assign]
    await asyncio.gather(*(ovs.writer.apply(ensure(port)) for port in many))
    assert transactions == 1
    assert {port.name for port in many} <= set(switch.vsctl("list-ports", "br-int").split())

    first = asyncio.create_task(ovs.writer.apply(remove(many[0])))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it is in flight: the others gather behind it
    await asyncio.gather(first, *(ovs.writer.apply(remove(port)) for port in many[1:]))
    assert transactions == 3


async def test_one_bad_member_fails_alone(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    good = ports(attachment, 19)
    # ovsdb-server closes the connection on a NUL or half a surrogate pair, which would fail all.
    bad = [
        replace(good[0], name="nul_h", external_ids=frozenset({("ip", text)}))
        for text in ("\0", "\udcff")
    ]
    clash = replace(good[0], name="half")
    switch.vsctl(
        "add-bond", "br-int", "bond0", "half", "other"
    )  # an Interface of that name, but no Port
    results = await asyncio.gather(
        *(ovs.writer.apply(ensure(port)) for port in (*good, *bad, clash)), return_exceptions=True
    )
    assert results[:-3] == [None] * 19
    assert all(isinstance(result, NodeFault) for result in results[-3:])
    assert "half" in str(results[-1])
    assert "constraint violation" in str(results[-1])
    await asyncio.gather(*(ovs.writer.apply(remove(port)) for port in good))
    switch.vsctl("del-port", "bond0")


async def test_a_name_taken_since_the_look_is_refused(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    port = desired_port(attachment)
    switch.vsctl("add-port", "br-int", port.name)  # not in our rows yet: the loop has not run since
    with pytest.raises(NodeFault, match=f"there is a Port {port.name} already"):
        await ovs.writer.apply(ensure(port))
    assert switch.ids(port.name) == {}
    switch.vsctl("del-port", port.name)


async def test_a_bridge_gone_since_the_look_is_refused(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    switch.vsctl("add-br", "br-gone")
    await ovs._database.transact([{"op": "comment", "comment": "earlier updates are in our rows"}])
    switch.vsctl("del-br", "br-gone")
    with pytest.raises(NodeFault, match="there is no Bridge br-gone"):
        await ovs.writer.apply(ensure(desired_port(attachment, bridge="br-gone")))


async def test_a_caller_that_left_is_not_served(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    stays, leaves = ports(attachment, 2)
    leaving = asyncio.create_task(ovs.writer.apply(ensure(leaves)))
    staying = asyncio.create_task(ovs.writer.apply(ensure(stays)))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    listed = switch.vsctl("list-ports", "br-int").split()
    assert stays.name in listed
    assert leaves.name not in listed
    await ovs.writer.apply(remove(stays))


async def test_the_cost_of_a_commit(
    ovs: Ovs, switch: PrivateSwitch, attachment: Attachment
) -> None:
    """Print figures. The bound is loose, since the machine is shared."""
    many = ports(attachment, 50)
    walls, start = [], time.process_time()
    for port in many:
        begun = time.perf_counter()
        await ovs.writer.apply(ensure(port))
        walls.append(time.perf_counter() - begun)
    alone = (time.process_time() - start) / len(many)
    await asyncio.gather(*(ovs.writer.apply(remove(port)) for port in many))
    eventually(
        lambda: not set(switch.vsctl("list-ports", "br-int").split()) & {port.name for port in many}
    )
    start, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(ovs.writer.apply(ensure(port)) for port in many))
    burst, wall = (time.process_time() - start) / len(many), time.perf_counter() - begun
    await asyncio.gather(*(ovs.writer.apply(remove(port)) for port in many))
    print(
        f"commit alone p50 {sorted(walls)[25] * 1e3:.2f} ms, CPU {alone * 1e3:.2f} ms; "
        f"50 at once {wall * 1e3:.1f} ms, CPU {burst * 1e3:.2f} ms each"
    )
    assert burst < alone < 0.01
