"""The sweep: lost records are rebuilt, garbage is seen twice, nothing is judged without a list."""

import asyncio
import errno
from dataclasses import replace

import pytest

from kit.memory import COMPLETE, UID, World, pod
from ovnlet.core.errors import NotReady
from ovnlet.core.fixed import Found
from ovnlet.core.identity import Attachment, Life, Record
from ovnlet.core.resources import Port
from ovnlet.reconcile.sweep import CAP, Sweep

pytestmark = pytest.mark.looptime
OTHER = "8a3b2f64-0000-4000-8000-00000000ffff"


class Marks:
    """What the marks on the node tell of."""

    def __init__(self) -> None:
        self.attachments: list[Attachment] = []
        self.away = False
        self.ours = True

    def found(self) -> list[Found]:
        if self.away:
            raise NotReady("no OVSDB")
        return [Found(attachment, self.ours) for attachment in self.attachments]


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def marks() -> Marks:
    return Marks()


@pytest.fixture
async def sweep(world: World, marks: Marks) -> Sweep:
    return Sweep(
        marked=marks,
        scope=world.scope,
        passes=world.passes,
        state=world.state,
        records=world.records,
        refresh=world.refresh,
    )


async def settle(_: World) -> None:
    """Let every pass end; the clock is not a real one."""
    await asyncio.sleep(5)


async def attached(world: World, container_id: str = "c1") -> Attachment:
    world.tell(pod())
    attachment = world.attachment(container_id)
    await world.attaching.add(attachment)
    return attachment


async def test_a_lost_record_is_rebuilt_and_the_network_stays(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    attachment = await attached(world)
    before = world.host.networks[attachment.key]
    world.records.remove(attachment.key)
    marks.attachments = [attachment]
    await sweep.round()
    await settle(world)
    record = world.records.get(attachment.key)
    assert record is not None
    assert record.good == COMPLETE
    assert world.host.networks[attachment.key] == before


async def test_what_kube_ovn_made_is_adopted_with_the_uid_of_its_pod(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    world.tell(pod())
    marks.ours = False
    marks.attachments = [
        Attachment("0123456789ab", "eth0", "/run/netns/x", "default", "web", None, "ovn", "", 0)
    ]
    await sweep.round()
    await settle(world)
    record = world.records.get(("0123456789ab", "eth0"))
    assert record is not None
    assert record.attachment.uid == UID
    assert any(
        isinstance(resource, Port) for resource in world.host.networks[record.attachment.key]
    )


@pytest.mark.review2
@pytest.mark.parametrize("earlier", [False, True])
async def test_no_record_is_made_of_a_sandbox_of_before_a_restart_k4(
    world: World, marks: Marks, sweep: Sweep, earlier: bool
) -> None:
    """K4: where another sandbox had its path, the port of the old one was repaired for it."""
    attachment = await attached(world)
    world.records.remove(attachment.key)
    sequence = 86_400_000 if earlier else attachment.sequence
    marks.attachments = [replace(attachment, sequence=sequence)]
    for _ in range(2):
        await sweep.round()
        await settle(world)
    assert (world.records.get(attachment.key) is None) is earlier
    assert world.host.networks[attachment.key], "its DEL comes"


async def test_a_dead_sandbox_without_a_record_goes_in_the_second_round(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    attachment = await attached(world)
    world.records.remove(attachment.key)
    world.host.dead.add(attachment.key)
    world.api = {}
    marks.attachments = [attachment]
    await sweep.round()
    await settle(world)
    assert world.host.networks[attachment.key]
    await sweep.round()
    await settle(world)
    assert world.nothing_left()


async def test_what_kube_ovn_left_of_a_dead_pod_is_not_ours_to_remove(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    attachment = await attached(world)
    world.records.remove(attachment.key)
    world.host.dead.add(attachment.key)
    marks.attachments, marks.ours = [attachment], False
    for _ in range(3):
        await sweep.round()
        await settle(world)
    assert world.host.networks[attachment.key]


async def test_a_living_sandbox_of_a_deleted_pod_goes_in_the_second_round(
    world: World, sweep: Sweep
) -> None:
    attachment = await attached(world)
    world.api = {}
    await world.refresh()
    await sweep.round()
    await settle(world)
    assert world.host.networks[attachment.key]
    await sweep.round()
    await settle(world)
    assert world.nothing_left()


async def test_a_pod_of_the_same_name_and_another_uid_keeps_nothing_of_the_old_alive(
    world: World, sweep: Sweep
) -> None:
    attachment = await attached(world)
    world.tell(pod(uid=OTHER))
    for _ in range(2):
        await sweep.round()
        await settle(world)
    assert not world.host.networks[attachment.key]


@pytest.mark.parametrize("uid", [None, "0123456789abcdef0123456789abcdef"])
async def test_without_a_uid_that_proves_it_a_living_sandbox_stays(
    world: World, sweep: Sweep, uid: str | None
) -> None:
    attachment = world.attachment(uid=uid)
    world.scope.remember(Record(attachment, COMPLETE))
    world.api = {}
    for _ in range(3):
        await sweep.round()
        await settle(world)
    assert world.records.get(attachment.key) is not None


async def test_with_the_api_server_away_nothing_goes_and_the_count_begins_anew(
    world: World, sweep: Sweep
) -> None:
    attachment = await attached(world)
    for away in (False, True, False):
        world.api = None if away else {}
        await sweep.round()
        await settle(world)
    assert world.host.networks[attachment.key]


async def test_with_ovsdb_away_nothing_goes(world: World, marks: Marks, sweep: Sweep) -> None:
    attachment = await attached(world)
    world.api = {}
    for away in (False, True, False):
        marks.away = away
        await sweep.round()
        await settle(world)
    assert world.host.networks[attachment.key]


async def test_an_add_that_waits_is_no_garbage(world: World, sweep: Sweep) -> None:
    attachment = world.attachment()
    world.scope.remember(Record(attachment))
    world.api = {}
    for _ in range(3):
        await sweep.round()
    assert world.records.get(attachment.key) is not None


async def test_one_round_removes_no_more_than_its_cap(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    world.tell(pod())
    for number in range(CAP + 5):
        attachment = world.attachment(f"c{number}", uid=OTHER)
        world.host.networks[attachment.key] = frozenset(
            {Port("br-int", f"c{number}_h", frozenset())}
        )
        world.host.dead.add(attachment.key)
        marks.attachments.append(attachment)
    for _ in range(2):
        await sweep.round()
    await settle(world)
    assert sum(bool(network) for network in world.host.networks.values()) == 5


async def test_a_sandbox_that_cannot_be_seen_is_left_alone(
    world: World, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment = await attached(world)
    world.api = {}
    monkeypatch.setattr(world.host, "life", lambda _: Life.HIDDEN)
    for _ in range(3):
        await sweep.round()
    assert world.host.networks[attachment.key]


@pytest.mark.review2
async def test_a_round_without_suspects_asks_nobody(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    """L24: a node at rest costs the API server nothing each minute."""
    attachment = await attached(world)
    marks.attachments = [attachment]
    lists = world.lists
    for _ in range(5):
        await sweep.round()
    assert world.lists == lists


@pytest.mark.review2
async def test_nothing_is_swept_that_only_the_watch_lost(
    world: World, marks: Marks, sweep: Sweep
) -> None:
    """L24: a pod that a stale view lacks makes a suspect, and the round's own list acquits it."""
    attachment = await attached(world)
    marks.attachments = [attachment]
    for _ in range(3):
        world.state.update(world.state.get(attachment.owner), None)
        await sweep.round()
        await settle(world)
    assert world.records.get(attachment.key) is not None
    assert world.host.networks[attachment.key]


@pytest.mark.review2
@pytest.mark.parametrize("where", ["found", "life"])
async def test_out_of_descriptors_nothing_is_judged_and_nothing_ends(
    world: World, marks: Marks, sweep: Sweep, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """L5: EMFILE while marks or sandboxes are looked at; the next round starts anew."""
    attachment = await attached(world)
    world.records.remove(attachment.key)
    world.host.dead.add(attachment.key)
    world.api, marks.attachments = {}, [attachment]
    await sweep.round()

    def out(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(marks if where == "found" else world.host, where, out)
        await sweep.round()
    await sweep.round()
    await settle(world)
    assert world.host.networks[attachment.key], "judged in two rounds that were not in a row"
    await sweep.round()
    await settle(world)
    assert not world.host.networks[attachment.key]
