"""Kernel notifications that are hints: foreign changes to a pod, not the kernel's own."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.identity import Attachment, AttachmentKey
from ovnlet.drivers.linux.notifications import Namespaces
from ovnlet.drivers.watch import sockets
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.reconcile.scope import Key


class Hints:
    """A watch on the bed's attachment, and the hints it gave."""

    def __init__(self) -> None:
        self.keys: list[AttachmentKey] = []
        self.lost = 0
        self.watch = Watch(lambda key: self.keys.append(key.own), self._lost)  # type: ignore[arg-type]

    def follow(self, attachment: Attachment) -> None:
        """Follow both ends of an attachment."""
        key = Key("pod", attachment.key)
        self.watch.follow(key, attachment.host_link, netns=attachment.netns)

    async def settled(self) -> list[AttachmentKey]:
        """Wait until no hint has come for 0.1 s, and return all."""
        before = -1
        while before != len(self.keys):
            before = len(self.keys)
            await asyncio.sleep(0.1)
        return self.keys

    def _lost(self) -> None:
        self.lost += 1


@pytest_asyncio.fixture
async def hints(bed: Bed) -> AsyncIterator[Hints]:
    await bed.converge(network(*DUAL))
    hints = Hints()
    hints.watch.start()
    hints.follow(bed.attachment)
    await hints.settled()  # the kernel reports the carrier with a delay
    hints.keys.clear()
    yield hints
    hints.watch.close()


def _tentative(bed: Bed) -> bool:
    return "tentative" in bed.pod.ip("-6", "address", "show", "dev", "eth0")


async def test_duplicate_address_detection_is_no_hint(bed: Bed, hints: Hints) -> None:
    assert _tentative(bed), "duplicate address detection is over already, so the test shows nothing"
    while _tentative(bed):  # noqa: ASYNC110 - iproute2 is the observer
        await asyncio.sleep(0.05)
    assert await hints.settled() == []


@pytest.mark.parametrize(
    "disturbance",
    [
        "address del 10.16.0.5/16 dev eth0",
        "address del fd00::5/64 dev eth0",
        "route del default",
        "route replace default via 10.16.0.1 dev eth0 proto kernel",
        "route replace 192.0.2.0/24 via 10.16.0.1 proto 157",
        "route append default via 10.16.0.77",
        "-6 route add default via fd00::77 metric 100",
        "address add 10.16.9.9/16 dev eth0",
        "link set eth0 down",
        "link set eth0 mtu 1300",
    ],
)
async def test_what_others_do_to_a_pod_is_a_hint(bed: Bed, hints: Hints, disturbance: str) -> None:
    bed.pod.ip(*disturbance.split())
    assert set(await hints.settled()) == {bed.attachment.key}


async def test_no_hint_for_an_attachment_that_is_no_longer_followed(bed: Bed, hints: Hints) -> None:
    hints.watch.forget(Key("pod", bed.attachment.key))
    bed.pod.ip("link", "set", "eth0", "down")
    bed.node.ip("link", "set", bed.host, "down")
    assert await hints.settled() == []
    assert not hints.watch.follows(Key("pod", bed.attachment.key))


async def test_every_interface_of_a_pod_gets_hints_of_its_namespace(bed: Bed, hints: Hints) -> None:
    second = replace(bed.attachment, ifname="net1")
    hints.follow(second)
    bed.pod.ip("address", "del", "10.16.0.5/16", "dev", "eth0")
    assert {bed.attachment.key, second.key} <= set(await hints.settled())
    hints.keys.clear()
    hints.watch.forget(Key("pod", second.key))
    bed.pod.ip("address", "del", "fd00::5/64", "dev", "eth0")
    assert set(await hints.settled()) == {bed.attachment.key}


@pytest.mark.review2
async def test_many_notifications_are_read_at_once_l11(bed: Bed, hints: Hints) -> None:
    """L11: each of a batch counts for its namespace; routes of the kernel's own do not come."""
    listener = sockets.of_links(everywhere=True)
    namespaces = Namespaces(listener, 64)
    for space, many in ((bed.pod, 40), (bed.node, 30)):
        words = ["ip", "-n", space.name, "-batch", "-"]
        change = "address add 192.0.2.1/32 dev lo\naddress del 192.0.2.1/32 dev lo\n"
        subprocess.run(words, check=True, input=change * (many // 2), text=True)
    found = [*namespaces.read(), *namespaces.read()]
    listener.close()
    assert len(found) == 70
    assert sorted(Counter(found).values()) == [30, 40]
    assert Counter(found)[-1] == 30, "the node's own namespace has no id in itself"
    assert set(await hints.settled()) == {bed.attachment.key}


@pytest.mark.review2
async def test_the_nodes_side_is_heard_during_a_storm_in_a_pod_l11(bed: Bed, hints: Hints) -> None:
    """L11: the pods' socket overflows; a change of a link of the node is a hint all the same."""
    assert hints.watch._node is not None
    change = "address add 192.0.2.1/32 dev lo\naddress del 192.0.2.1/32 dev lo\n"
    words = ["ip", "-n", bed.pod.name, "-batch", "-"]
    subprocess.run(words, check=True, input=change * 20_000, text=True)  # nobody reads meanwhile
    hints.watch.forget(Key("pod", bed.attachment.key))
    hints.watch.follow(Key("pod", bed.attachment.key), bed.host, netns="")
    bed.node.ip("link", "set", bed.host, "down")
    assert set(await hints.settled()) == {bed.attachment.key}
    assert hints.lost == 1


@pytest.mark.review2
async def test_every_key_that_follows_the_nodes_addresses_is_hinted(bed: Bed, hints: Hints) -> None:
    """Only one key could: tunnels and egress gateways followed no address until the resync."""
    for name in ("ovn0", "encap", "gateway"):
        hints.watch.follow_addresses(Key("node", name))
    bed.node.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    bed.node.ip("address", "add", "192.0.2.7/24", "dev", "lan0")
    assert {str(each) for each in await hints.settled()} == {"ovn0", "encap", "gateway"}
