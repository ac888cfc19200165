"""Links of a burst go together, and one that is foreign or gone disturbs none of them."""

import asyncio
import errno
import subprocess
import time
from collections.abc import Sequence

import pytest

from integration.node.spaces import Bed, Space
from ovnlet.drivers.links import removal
from ovnlet.drivers.links.removal import LinkRemoval
from ovnlet.drivers.linux.rtnetlink import delete_link
from ovnlet.drivers.linux.transport import Refused, Socket

MANY = 60


def made(node: Space, count: int, stem: str = "v") -> list[str]:
    """Make so many veth pairs, both ends in the node's namespace, and return their names."""
    names = [f"{stem}{number}" for number in range(count)]
    lines = [f"link add {name} type veth peer name {name}p\n" for name in names]
    words = ["ip", "-n", node.name, "-batch", "-"]
    subprocess.run(words, input="".join(lines), text=True, check=True, timeout=60)
    return names


async def deleted(names: Sequence[str]) -> list[Refused | None]:
    links = LinkRemoval()
    return await asyncio.gather(*map(links.delete, names))


async def test_a_burst_costs_less_than_a_third_of_one_by_one(bed: Bed) -> None:
    """Each deletion of its own waits for RCU grace periods; those of a group share them."""
    names = made(bed.node, MANY)
    began = time.monotonic()
    with Socket() as host:  # the control
        await asyncio.to_thread(host.ask, *map(delete_link, names))
    alone = time.monotonic() - began
    names = made(bed.node, MANY)
    began = time.monotonic()
    assert await deleted(names) == [None] * MANY
    together = time.monotonic() - began
    print(f"{MANY} veth pairs: {alone * 1000:.0f} ms one by one, {together * 1000:.0f} together")
    assert not {name for name in bed.node.links() if name.startswith("v")}
    assert together < alone / 3


async def test_links_that_nobody_named_stay(bed: Bed) -> None:
    """The control: links of others, in the default group and in one of their own."""
    names, others = made(bed.node, 20), made(bed.node, 3, "o")
    bed.node.ip("link", "set", "o1", "group", "7")
    ends = await deleted([*names[:10], "missing", *names[10:], "gone"])
    refused = [end.errno for end in ends if end is not None]
    assert refused == [errno.ENODEV, errno.ENODEV]
    left = bed.node.links()
    assert {*others, *(f"{name}p" for name in others)} <= left
    assert not left & {*names, *(f"{name}p" for name in names)}
    assert bed.node.link("o1")["group"] == "7"


async def test_a_link_that_cannot_be_deleted_keeps_no_other(bed: Bed) -> None:
    """The kernel refuses the whole group then: `lo` has no deletion. The rest goes one by one."""
    names = made(bed.node, 5)
    ends = await deleted([names[0], names[1], *names[2:], "lo"])
    assert ends[:-1] == [None] * 5
    assert ends[-1] is not None
    assert ends[-1].errno == errno.EOPNOTSUPP
    assert not bed.node.links() & set(names)


async def test_without_a_socket_each_caller_gets_the_error(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = made(bed.node, 3)

    def full() -> Socket:
        raise OSError(errno.EMFILE, "too many files")

    monkeypatch.setattr(removal, "Socket", full)
    links = LinkRemoval()
    ends = await asyncio.gather(*map(links.delete, names), return_exceptions=True)
    assert [type(end) for end in ends] == [OSError] * 3
    monkeypatch.undo()
    assert await asyncio.gather(*map(links.delete, names)) == [None] * 3
