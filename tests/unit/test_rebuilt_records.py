"""A lost record is made again from the port's labels, with all that was fixed at ADD."""

import asyncio
from dataclasses import replace

import pytest

from kit.memory import COMPLETE, World, pod
from ovnlet.core import fixed, ids
from ovnlet.core.fixed import Found
from ovnlet.core.identity import Attachment, Record
from ovnlet.core.resources import Network, Port, Route
from ovnlet.drivers.sandbox_host import attachment_of
from ovnlet.reconcile.sweep import Sweep

pytestmark = [pytest.mark.looptime, pytest.mark.review2]
OVN = "ovn.kubernetes.io"
ROUTES = (("198.51.100.0/24", "10.16.0.3"), ("2001:db8::/32", "fd00::3"))


class Marks:
    """What the ports of the node in memory tell, read as the driver reads them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def found(self) -> list[Found]:
        return [self._of(each) for each in self._world.host.networks.values() if each]

    @staticmethod
    def _of(network: Network) -> Found:
        (port,) = (each for each in network if isinstance(each, Port))
        attachment = attachment_of(port.name, port.ids["ovnlet"], port.ids)
        assert attachment is not None
        return Found(attachment, True, fixed.decode(port.ids.get(fixed.KEY, "")))


@pytest.fixture
async def world() -> World:
    return World()


async def lose_and_sweep(world: World) -> None:
    """Lose every record, and sweep as a restarted agent does."""
    world.records.kept.clear()
    sweep = Sweep(
        marked=Marks(world),
        scope=world.scope,
        passes=world.passes,
        state=world.state,
        records=world.records,
        refresh=world.refresh,
    )
    await sweep.round()
    await asyncio.sleep(5)


async def test_l13_a_rebuilt_record_has_the_conflists_routes(world: World) -> None:
    """L13: the routes of the network configuration were lost with the record."""
    world.tell(pod())
    attachment = replace(world.attachment(), routes=ROUTES)
    await world.attaching.add(attachment)
    before = world.host.networks[attachment.key]
    assert "198.51.100.0/24" in {str(e.destination) for e in before if isinstance(e, Route)}
    await lose_and_sweep(world)
    record = world.records.get(attachment.key)
    assert record is not None
    assert record.attachment == attachment
    assert world.host.networks[attachment.key] == before


async def test_l13_a_rebuilt_record_keeps_what_was_fixed_at_add(world: World) -> None:
    """L13: an address that was edited meanwhile became that of the running pod."""
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    before = world.host.networks[attachment.key]
    edits = {
        "ip_address": "10.16.0.77",
        "cidr": "10.16.0.0/24",
        "mac_address": "0a:00:00:00:00:77",
        "logical_switch": "other",
        "default_route": "false",
    }
    world.tell(pod({**COMPLETE, **{f"{OVN}/{name}": value for name, value in edits.items()}}))
    await lose_and_sweep(world)
    assert world.host.networks[attachment.key] == before
    assert {problem.key for problem in world.outcomes[-1].problems} == {
        f"{OVN}/{name}" for name in edits
    }


@pytest.mark.parametrize("bad", ["ip_address", "mac_address"])
async def test_l13_annotations_of_no_use_do_not_matter_to_a_rebuilt_record(
    world: World, bad: str
) -> None:
    """L13: with an address that cannot be read, the record was made and never kept."""
    world.tell(pod())
    attachment = world.attachment()
    await world.attaching.add(attachment)
    before = world.host.networks[attachment.key]
    world.tell(pod({**COMPLETE, f"{OVN}/{bad}": "nonsense"}))
    await lose_and_sweep(world)
    assert world.host.networks[attachment.key] == before
    assert world.records.get(attachment.key) is not None


async def test_l13_of_two_sandboxes_the_newest_stays_the_newest(world: World) -> None:
    """L13: with the records went the order of the ADDs."""
    world.tell(pod())
    old, new = world.attachment("old"), world.attachment("new")
    for each in (new, old):  # the order in which the node shows them must not matter
        world.scope.remember(_record(each))
        world.passes.force(each.key)
        await world.passes.run(each.key)
    both = {key: network for key, network in world.host.networks.items() if network}
    world.host.networks = {old.key: _network(world, old), new.key: both[new.key]}
    await lose_and_sweep(world)
    assert world.host.networks[new.key]
    assert not world.host.networks[old.key]


def _record(attachment: Attachment) -> Record:
    return Record(attachment, COMPLETE)


def _network(world: World, attachment: Attachment) -> Network:
    return world.scope.desired(_record(attachment))[0]


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"routes": 1}', '{"ip": "a"}', '{"seq": "x"}', "[" * 10000]
)
def test_l13_labels_that_somebody_wrote_are_no_mirror(text: str) -> None:
    """L13: what cannot be read is taken for nothing."""
    assert fixed.decode(text) is None


def test_l14_an_adopted_port_of_another_interface_keeps_its_name() -> None:
    """L14: kube-ovn-cni's `c0ffee5b_net1_h` was to get a hash as its name: `Taken` for ever."""
    labels = {
        "vendor": "kube-ovn",
        "pod_name": "web",
        "pod_namespace": "default",
        "pod_netns": "/run/netns/x",
        "iface-id": "web.default.net1.default.ovn",
    }
    found = attachment_of("c0ffee5b_net1_h", None, labels)
    assert found is not None
    assert found.key == ("c0ffee5b", "net1")
    assert found.host_link == "c0ffee5b_net1_h" != ids.host_link(*found.key)
    assert ids.is_host_link("c0ffee5b_net1_h", *found.key)
    assert not ids.is_host_link("c0ffee5b_net2_h", *found.key)
    assert found.provider == "net1.default.ovn"
