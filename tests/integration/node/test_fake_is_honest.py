"""The unit tests' strict node compared with a real kernel and a real ovsdb-server.

A fake alone only shows what its author believes. Here the same stories of foreign changes and
plans run on both. After each turn both hold the same state, our drivers observe the same, and
both have refused the same operations.
"""

import asyncio
import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from integration.node.fake_and_real import FakeAndRealNode
from integration.node.ovs.vswitch import TIMEOUT_FACTOR, PrivateSwitch
from integration.node.spaces import Bed
from kit import drift, laws, pods
from kit.strict_links import Refused
from ovnlet.core.errors import NodeFault, Taken
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.plan import Step, diff
from ovnlet.core.resources import ABSENT, Network
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.ovsdb import replica
from ovnlet.drivers.sandbox_host import SandboxHost

STORIES = int(30 / TIMEOUT_FACTOR)
_TEXT = {
    pods.key("ip_address"): "10.16.0.5,fd00::5",
    pods.key("cidr"): "10.16.0.0/16,fd00::/64",
    pods.key("gateway"): "10.16.0.1,fd00::1",
    pods.key("mac_address"): "00:00:00:53:00:01",
    pods.key(
        "routes"
    ): '[{"dst":"192.0.2.0/24","gw":"10.16.0.1"},{"dst":"2001:db8::/32","gw":"fd00::1"}]',
}
_DUAL = pods.network(_TEXT, Node("br-int", 1400, userspace=True))
_MOVED = pods.network(
    _TEXT | {pods.key("gateway"): "10.16.0.2,fd00::2"}, Node("br-int", 1500, userspace=True)
)
# How many forms of each foreign operation there are.
_FORMS = {
    drift.down_and_up: 4,
    drift.change_link: 20,
    drift.lose_loopback: 1,
    drift.delete_link: 2,
    drift.add_address: 18,
    drift.change_address: 10,
    drift.lose_routes: 12,
    drift.add_foreign_route: 13,
    drift.put_in_place_of_ours: 3,
    drift.change_our_route: 14,
    drift.change_setting: 3,
    drift.change_row: 10,
    drift.add_foreign_row: 5,
    drift.add_foreign_link: 2,
    drift.ovn: 1,
}
_PASS = laws.Operation(None, 99)
_OVN = laws.Operation(drift.ovn, 0)


def _each_once() -> laws.World:
    """Return a story of every form of every foreign operation, each followed by a repair."""
    turns = [
        (_PASS, _OVN, laws.Operation(what, n))
        for what, forms in _FORMS.items()
        for n in range(forms)
    ]
    return laws.World(pods.Edit(_DUAL, _MOVED), tuple(turn for each in turns for turn in each), 0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PrivateSwitch]:
    private = PrivateSwitch(tmp_path)
    try:
        private.start_server()
        for bridge in ("br-int", "br-ext"):
            private.vsctl("add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev")
        yield private
    finally:
        private.stop()


class StoryRun:
    """One story, run on the fake node and the real one."""

    def __init__(self, host: SandboxHost, node: FakeAndRealNode, attachment: Attachment) -> None:
        self.host, self.node, self.attachment = host, node, attachment

    async def run(self, world: laws.World) -> None:
        self.node.both_kernels.bed.pod.set(
            "ipv6/conf/default/disable_ipv6", "1" if world.ipv6_off else "0"
        )
        self.node.kernel.defaults["disable_ipv6"] = "1" if world.ipv6_off else "0"
        for operation in world.operations:
            if operation.drift:
                drift.perform(self.node, operation.drift, operation.n)
            else:
                await self._reconcile(world.edit.before, operation.n)
            await self._compare(world.edit.before, operation)
        for desired in (world.edit.after, world.edit.after, ABSENT):
            await self._reconcile(desired, 99)
            await self._compare(desired, "at the end")

    async def _reconcile(self, desired: Network, count: int) -> None:
        try:
            plan = diff(desired, self.node.observe(desired))
        except Taken:
            return
        self.node.both_kernels.mirrors = False
        try:
            for step in plan[:count]:
                if not await self._step(step):
                    break
        finally:
            self.node.both_kernels.mirrors = True

    async def _step(self, step: Step) -> bool:
        """Apply the step to both nodes; return whether they accepted it."""
        try:
            self.node.apply(step)
        except Refused as refused:
            with pytest.raises(NodeFault, match=errno.errorcode[refused.errno]):
                await self.host.apply(self.attachment, (step,))
            return False
        await self.host.apply(self.attachment, (step,))
        return True

    async def _compare(self, desired: Network, turn: object) -> None:
        self.node.copy_ovn_installed()
        assert self.node.fake_state() == self.node.real_state(), turn
        try:
            expected = self.node.observe(desired)
        except Taken:
            with pytest.raises(Taken):
                await self.host.observe(self.attachment, desired)
            return
        for _ in range(100):  # the update of the last commit may be under way
            if (shown := await self.host.observe(self.attachment, desired)) == expected:
                break
            await asyncio.sleep(0.01)
        assert shown == expected, turn


@pytest.fixture
def run_story(
    bed: Bed, database: PrivateSwitch, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[laws.World], None]]:
    """Return a function that runs a story.

    iproute2 and ovs-vsctl block the event loop, and delay answers to the driver's probe: its
    period is longer on a slow machine.
    """
    monkeypatch.setattr(replica, "PROBE", replica.PROBE * TIMEOUT_FACTOR)
    attachment = replace(pods.ATTACHMENT, netns=bed.pod.path)
    with asyncio.Runner() as runner:
        ovs = Ovs(str(database.socket), "br-int")
        runner.run(_start(ovs))
        host = SandboxHost(bed.netlink, ovs, NodeState(ovs, 1400))

        def run(world: laws.World) -> None:
            node = FakeAndRealNode(attachment, bed, database)
            node.clean()
            bed.pod.ip("link", "set", "lo", "up")
            runner.run(StoryRun(host, node, attachment).run(world))

        yield run
        runner.run(ovs.close())


async def _start(ovs: Ovs) -> None:
    ovs.start()
    await ovs.ready()


def test_each_foreign_operation_does_the_same_to_both(
    run_story: Callable[[laws.World], None],
) -> None:
    assert set(_FORMS) == set(drift.GENTLE)
    run_story(_each_once())


@settings(
    max_examples=STORIES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(world=laws.worlds(drifts=drift.ALL, limited=False))
def test_random_stories_end_equal(
    run_story: Callable[[laws.World], None], world: laws.World
) -> None:
    run_story(world)
