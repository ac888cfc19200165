"""A sandbox is opened once in a pass, and not open for longer."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.errors import NodeFault
from ovnlet.core.identity import Attachment
from ovnlet.drivers.links import open_sandboxes
from ovnlet.drivers.links.open_sandboxes import OpenSandboxes
from ovnlet.drivers.links.veths import Sandbox
from ovnlet.drivers.linux import namespaces
from ovnlet.drivers.linux.rtnetlink import get_links
from ovnlet.reconcile.interruptible import Turn


@contextmanager
def _a_pass() -> Iterator[Turn]:
    turn = Turn()
    turn.begin()
    try:
        yield turn
    finally:
        turn.end()


def _open() -> set[str]:
    """Return what the process has open: netlink sockets and namespaces, by descriptor."""
    links = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            links[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the listing's own
    of_a_sandbox = ("socket:", "/run/netns/")
    return {f"{fd}: {what}" for fd, what in links.items() if what.startswith(of_a_sandbox)}


def _links(sandbox: Sandbox) -> int:
    return len(sandbox.pod.dump(get_links()))


async def test_one_for_a_whole_pass(bed: Bed) -> None:
    """Its looks and steps share one, and nothing stays open."""
    before, wanted = _open(), network(*DUAL)
    with _a_pass():
        await bed.converge(wanted)
        kept = _open() - before
        assert len(kept) == 3
        assert await bed.converge(wanted) == bed.plan(wanted)
        assert _open() - before == kept
    assert _open() == before


def test_outside_of_a_pass_nothing_is_kept(bed: Bed) -> None:
    before, sandboxes = _open(), OpenSandboxes()
    with sandboxes.open(bed.attachment) as first:
        assert _links(first) == 1
    assert _open() == before


async def test_a_task_that_outlives_its_pass_keeps_nothing(bed: Bed) -> None:
    before, sandboxes, ended = _open(), OpenSandboxes(), asyncio.Event()

    async def _later() -> None:
        await ended.wait()
        with sandboxes.open(bed.attachment) as sandbox:
            assert _links(sandbox) == 1

    with _a_pass():
        task = asyncio.create_task(_later())
        with sandboxes.open(bed.attachment):
            pass
    ended.set()
    await task
    assert _open() == before


def test_an_error_in_the_pass_closes_it(bed: Bed) -> None:
    before, sandboxes = _open(), OpenSandboxes()
    with pytest.raises(NodeFault), _a_pass(), sandboxes.open(bed.attachment):
        raise NodeFault("the kernel's tables change too fast to be read")
    assert _open() == before


def test_another_path_is_another_sandbox(bed: Bed) -> None:
    """A runtime may give the same container ID a new sandbox, the record a corrected path."""
    before, sandboxes = _open(), OpenSandboxes()
    bed.pod.ip("link", "add", "only-here", "type", "bridge")
    other = replace(bed.attachment, netns=bed.another("b").path)
    with _a_pass():
        for attachment, links in ((bed.attachment, 2), (other, 1), (bed.attachment, 2)):
            with sandboxes.open(attachment) as sandbox:
                assert _links(sandbox) == links
    assert _open() == before


def test_no_more_than_the_bound(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_sandboxes, "_MOST", 2)
    before, sandboxes = _open(), OpenSandboxes()

    def _many() -> Iterator[Attachment]:
        for name in ("a1", "b2", "c3"):
            yield replace(bed.attachment, container_id=name)

    with _a_pass():
        for attachment in _many():
            with sandboxes.open(attachment) as sandbox:
                assert _links(sandbox) == 1
        assert len(_open() - before) == 6
    with _a_pass():
        for attachment in _many():
            with sandboxes.open(attachment) as sandbox:
                assert _links(sandbox) == 1
        assert len(_open() - before) == 6, "what was closed makes room"
    assert _open() == before


def test_the_settings_are_read_inside(bed: Bed) -> None:
    """A kept sandbox leaves the thread in the node's namespace, and enters the pod by itself."""
    own, pod = namespaces.own_identity(), os.stat(bed.pod.path)
    with _a_pass(), OpenSandboxes().open(bed.attachment) as sandbox:
        assert namespaces.own_identity() == own
        with sandbox.inside():
            assert namespaces.own_identity() == (pod.st_dev, pod.st_ino)
        assert namespaces.own_identity() == own
