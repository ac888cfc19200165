"""A DEL never waits behind a pass that waits, whatever that waits for (K2). On a fake clock."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Plan
from ovnlet.core.resources import Network, Port, Route
from ovnlet.drivers.host import PortHost
from ovnlet.drivers.ovs.ports import Ovs

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
NAME, MARK = "c1_h", "c1/eth0"
ANSWERED = 0.2  # seconds


@dataclass
class Switch:
    """The real driver on a database in memory, in which one port has lost `ovn-installed`.

    ``recomputes`` counts what ovn-controller was asked for; it takes ``recompute_time`` seconds.
    """

    recomputes: int = 0
    recompute_time: float = 0.0
    hints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ovs = Ovs(
            "/nonexistent",
            "br-int",
            recompute=self._recompute,
            changed=lambda _mark, name: self.hints.append(name),
        )
        self.ovs._database.connected.set()
        self.ovs._batcher.commit = self._commit  # type: ignore[method-assign]
        self._publish(installed=True)
        self._publish(installed=False)

    def install(self) -> None:
        """Have OVN install the port again."""
        self._publish(installed=True)

    async def _commit(self, build: Callable[[], list[Any]]) -> list[dict[str, Any]]:
        build()
        await asyncio.sleep(0.001)
        return [{}]

    async def _recompute(self) -> None:
        self.recomputes += 1
        await asyncio.sleep(self.recompute_time)

    def _publish(self, *, installed: bool) -> None:
        ids = {"ovnlet": MARK, **({"ovn-installed": "true"} if installed else {})}
        policing = {"ingress_policing_rate": 0, "ingress_policing_burst": 0}
        link = {"type": "", "mac": None, "mtu_request": None, "error": None}
        row = {"name": NAME, "external_ids": ids, "ofport": 5, **policing, **link}
        old = self.ovs._index.interface(NAME)
        bridge = {"name": "br-int", "datapath_type": "netdev", "fail_mode": "secure"}
        port: dict[str, Any] = {
            "name": NAME,
            "interfaces": frozenset("i"),
            "external_ids": {},
            "qos": None,
        }
        root = {"external_ids": {}, "cur_cfg": 1, "next_cfg": 1}
        rows: dict[str, dict[str, dict[str, Any]]] = {
            "Open_vSwitch": {"r": root},
            "Bridge": {"b": {**bridge, "ports": frozenset("p")}},
            "Port": {"p": {**port, "qos": None}},
            "Interface": {"i": row},
            "QoS": {},
            "Queue": {},
        }
        self.ovs._index.reload(rows)
        self.ovs._tracker.change(old, row)
        self.ovs._waits.wake(NAME)


class Losing(World):
    """The loop whose pods' port is as the real driver sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.switch = Switch()
        self._observe, self._apply = self.host.observe, self.host.apply
        self.host.observe = self.observe  # type: ignore[method-assign]
        self.host.apply = self.apply  # type: ignore[method-assign]

    async def observe(self, attachment: Attachment, desired: Network) -> Network:
        lost = self.switch.ovs._tracker.is_lost(NAME)
        seen = await self._observe(attachment, desired)
        return frozenset(
            replace(each, uninstalled=lost) if isinstance(each, Port) else each for each in seen
        )

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        await self._apply(attachment, plan)
        ports = [s for s in plan if isinstance(s.resource, Port) and isinstance(s.was, Port)]
        await self.switch.ovs.writer.apply(ports)


async def attached() -> tuple[Losing, Attachment]:
    """Return a loop with one attachment, whose port counts as lost."""
    world = Losing()
    world.tell(pod())
    attachment = world.attachment()
    world.switch.install()
    await world.attaching.add(attachment)
    world.switch._publish(installed=False)
    await asyncio.sleep(0.4)
    assert world.switch.ovs._tracker.is_lost(NAME)
    return world, attachment


async def seconds_of_delete(world: World, attachment: Attachment) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.attaching.delete(Attachment.of_deletion(*attachment.key, "boot"))
    assert world.nothing_left()
    return loop.time() - began


async def test_a_del_does_not_wait_for_ovn_to_install_again_k2() -> None:
    """K2: the logical port is gone for good; three waits of two seconds held the DEL."""
    world, attachment = await attached()
    world.hint(attachment.key)
    await asyncio.sleep(0.1)
    assert world.switch.recomputes == 1
    assert await seconds_of_delete(world, attachment) < ANSWERED


async def test_an_edit_and_another_repair_do_not_wait_either_k2() -> None:
    """K2: the wait does not hold the attachment's turn."""
    world, attachment = await attached()
    world.hint(attachment.key)
    await asyncio.sleep(0.1)
    world.tell(pod({**COMPLETE, "ovn.kubernetes.io/gateway": "10.16.0.9"}))
    await asyncio.sleep(ANSWERED)
    assert "10.16.0.9" in routes(world, attachment)
    kept = world.host.networks[attachment.key]
    world.host.networks[attachment.key] = frozenset(r for r in kept if not isinstance(r, Route))
    world.hint(attachment.key)
    await asyncio.sleep(ANSWERED)
    assert "10.16.0.9" in routes(world, attachment)


async def test_what_was_asked_for_in_vain_is_hinted_at_again_k2() -> None:
    """K2: without the wait, a port that OVN does not install must still be found lost again."""
    world, attachment = await attached()
    world.hint(attachment.key)
    await asyncio.sleep(0.1)
    before = len(world.switch.hints)
    assert not world.switch.ovs._tracker.is_lost(NAME)
    await asyncio.sleep(2.5)
    assert world.switch.ovs._tracker.is_lost(NAME)
    assert world.switch.hints[before:] == [NAME]


async def test_a_del_does_not_wait_for_the_answer_of_ovn_controller_k2() -> None:
    """K2: a busy ovn-controller takes its time to answer a request to recompute."""
    world, attachment = await attached()
    world.switch.recompute_time = 60
    world.hint(attachment.key)
    await asyncio.sleep(0.1)
    assert await seconds_of_delete(world, attachment) < ANSWERED


async def test_a_port_of_a_pod_that_is_being_deleted_gets_no_remedy_k2() -> None:
    """K2: its logical port went with the deletionTimestamp. Other drift is repaired until DEL."""
    world, attachment = await attached()
    world.tell(replace(pod(), deleting=True))
    kept = world.host.networks[attachment.key]
    world.host.networks[attachment.key] = frozenset(r for r in kept if not isinstance(r, Route))
    world.hint(attachment.key)
    await asyncio.sleep(30)
    assert world.switch.recomputes == 0
    assert routes(world, attachment)
    assert not [text for _, _, text in world.status.events if "uninstalled" in text]


@pytest.mark.parametrize("mode", ["fix", "report", "off"])
async def test_a_del_cuts_short_a_wait_for_ovsdb_in_every_mode_k2(mode: str) -> None:
    """K2: a pass waits three seconds for OVSDB; the DEL behind it took six, over its five."""
    world = World()
    world.tell(pod({**COMPLETE, "ovnlet.io/repair": mode}))
    attachment = world.attachment()
    await world.attaching.add(attachment)
    away = Ovs("/nonexistent", "br-int")
    world.host.ready = PortHost(cast("Any", None), away, cast("Any", None)).ready  # type: ignore[method-assign]
    world.hint(attachment.key)
    await asyncio.sleep(2)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NotReady, match="OVSDB"):
        await world.attaching.delete(Attachment.of_deletion(*attachment.key, "boot"))
    assert asyncio.get_running_loop().time() - began < 3 + ANSWERED
    await world.loop.queue.close()


async def test_a_second_del_does_not_end_the_first_k2() -> None:
    """K2: a runtime that repeats a DEL gets the answer of the one under way."""
    world = World()
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    away = Ovs("/nonexistent", "br-int")
    world.host.ready = PortHost(cast("Any", None), away, cast("Any", None)).ready  # type: ignore[method-assign]
    asyncio.get_running_loop().call_later(1, away._database.connected.set)
    leaving = Attachment.of_deletion(*attachment.key, "boot")
    await asyncio.gather(*(world.attaching.delete(leaving) for _ in range(3)))
    assert world.nothing_left()


async def test_a_pass_that_a_del_cut_short_is_not_ready_k2() -> None:
    """K2: a caller of that pass, such as `ovnlet apply`, is told why."""
    world, attachment = await attached()
    world.switch.recompute_time = 60
    passing = asyncio.ensure_future(world.passes.run(attachment.key))
    await asyncio.sleep(0.1)
    await world.attaching.delete(Attachment.of_deletion(*attachment.key, "boot"))
    with pytest.raises(NotReady, match="DEL"):
        await passing


def routes(world: World, attachment: Attachment) -> set[str]:
    """Return the gateways of an attachment's routes."""
    network = world.host.networks[attachment.key]
    return {str(each.via) for each in network if isinstance(each, Route)}
