"""Sandbox states from the kernel: alive, dead, hidden.

An observation leaves nothing open or created, and the thread returns to its own namespace.
"""

import asyncio
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from integration.node.spaces import DUAL, Bed, network
from ovnlet.core.errors import NodeFault, NotReady, UnknownSandbox
from ovnlet.core.identity import Life
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import ABSENT, Address, Veth
from ovnlet.drivers.linux import namespaces, rtnetlink, transport

WANTED = network(*DUAL)
VETH = next(each for each in WANTED if isinstance(each, Veth))


def _hide(bed: Bed) -> None:
    """Unmount the path, as if its mount were not propagated. A process must hold the namespace."""
    subprocess.run(["umount", bed.pod.path], check=True)


@pytest.fixture
def holder(bed: Bed) -> Iterator[None]:
    """Run a process in the pod's namespace until the test ends."""
    process = subprocess.Popen(["nsenter", f"--net={bed.pod.path}", "cat"], stdin=subprocess.PIPE)
    own = _identity(bed.node.path)
    while _identity(f"/proc/{process.pid}/ns/net") == own:
        time.sleep(0.005)
    yield
    assert process.poll() is None, "nothing kept the namespace alive"
    process.communicate()


async def _until_dead(bed: Bed) -> None:
    deadline = time.monotonic() + 5
    while bed.netlink.life(bed.attachment) is not Life.DEAD:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_living_sandbox(bed: Bed) -> None:
    assert bed.netlink.life(bed.attachment) is Life.ALIVE
    await bed.converge(WANTED)
    assert bed.netlink.life(bed.attachment) is Life.ALIVE


async def test_a_dead_sandbox_has_nothing_and_can_be_given_nothing(bed: Bed) -> None:
    await bed.converge(WANTED)
    bed.pod.delete()
    await _until_dead(bed)
    assert bed.netlink.observe(bed.attachment, WANTED) == ABSENT
    assert bed.netlink.observe(bed.attachment, ABSENT) == ABSENT
    with pytest.raises(UnknownSandbox, match="no network namespace"):
        await bed.netlink.apply(bed.attachment, [Step(Verb.ENSURE, VETH)])
    await bed.netlink.apply(bed.attachment, [Step(Verb.REMOVE, each) for each in WANTED])
    await bed.netlink.apply(bed.attachment, [Step(Verb.REMOVE, replace(VETH, host="elsewhere:7"))])
    assert not Path(bed.pod.path).exists()


async def test_observing_does_not_keep_a_namespace_alive(bed: Bed) -> None:
    """A socket or descriptor left inside would keep the namespace, and its veth with it."""
    await bed.converge(WANTED)
    for _ in range(20):
        bed.netlink.observe(bed.attachment, WANTED)
    bed.pod.delete()
    await _until_dead(bed)
    assert bed.node.links() == set()


async def test_a_hidden_sandbox_is_not_reported_dead(bed: Bed, holder: None) -> None:
    await bed.converge(WANTED)
    _hide(bed)
    assert bed.netlink.life(bed.attachment) is Life.HIDDEN
    with pytest.raises(NotReady, match=f"{bed.pod.path}.*mount propagation"):
        bed.netlink.observe(bed.attachment, WANTED)
    address = next(each for each in WANTED if isinstance(each, Address))
    for verb in Verb:
        with pytest.raises(NotReady, match="mount propagation"):
            await bed.netlink.apply(bed.attachment, [Step(verb, address)])
    assert bed.node.links() == {bed.host}


async def test_a_hidden_sandbox_can_be_removed_where_nothing_is_desired(
    bed: Bed, holder: None
) -> None:
    """The runtime's DEL needs no namespace: deleting the host end deletes its peer."""
    await bed.converge(WANTED)
    _hide(bed)
    await bed.converge(ABSENT)
    assert bed.node.links() == set()
    assert bed.netlink.life(bed.attachment) is Life.DEAD


async def test_another_links_name_keeps_no_sandbox_alive(bed: Bed) -> None:
    bed.pod.delete()
    bed.node.ip("link", "add", bed.host, "type", "bridge")
    assert bed.netlink.life(bed.attachment) is Life.DEAD


@pytest.mark.parametrize(
    "kind", ["missing", "file", "directory", "fifo", "user namespace", "device", "below a file"]
)
async def test_a_path_that_is_no_network_namespace(bed: Bed, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "netns"
    match kind:
        case "file":
            path.write_text("")
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "user namespace":
            path = Path("/proc/self/ns/user")
        case "device":
            path = Path("/dev/null")
        case "below a file":
            path = Path("/proc/version/ns/net")
        case _:
            assert kind == "missing"
    attachment = replace(bed.attachment, netns=str(path))
    assert bed.netlink.life(attachment) is Life.DEAD
    assert bed.netlink.observe(attachment, WANTED) == ABSENT
    with pytest.raises(UnknownSandbox):
        await bed.netlink.apply(attachment, [Step(Verb.ENSURE, VETH)])
    assert path.exists() == (kind not in ("missing", "below a file"))
    assert bed.node.links() == set()


async def test_the_nodes_own_namespace_is_no_sandbox(bed: Bed) -> None:
    attachment = replace(bed.attachment, netns=bed.node.path)
    assert bed.netlink.life(attachment) is Life.DEAD
    with pytest.raises(UnknownSandbox, match="node's own"):
        await bed.netlink.apply(attachment, [Step(Verb.ENSURE, VETH)])
    assert bed.node.links() == set()


async def test_without_file_descriptors_no_sandbox_is_reported_dead(bed: Bed) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
    held = []
    try:
        with pytest.raises(OSError, match="Too many open files"):  # noqa: PT012
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(NodeFault, match="cannot open"):
            bed.netlink.life(bed.attachment)
        with pytest.raises(NodeFault):
            bed.netlink.observe(bed.attachment, WANTED)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    assert bed.netlink.life(bed.attachment) is Life.ALIVE


async def test_an_error_inside_leads_back_to_the_node(bed: Bed) -> None:
    seen = None
    with suppress(ZeroDivisionError), namespaces.opened(bed.pod.path) as fd, namespaces.entered(fd):
        seen = namespaces.own_identity()
        raise ZeroDivisionError
    assert seen == _identity(bed.pod.path)
    assert namespaces.own_identity() == _identity(bed.node.path)


def _identity(path: str) -> namespaces.Identity:
    with open(path, "rb") as file:
        return namespaces.identity(file.fileno())


def test_the_process_exits_when_a_thread_cannot_return(bed: Bed) -> None:
    program = f"""
from ovnlet.drivers.linux import namespaces, rtnetlink, transport
with namespaces.opened({bed.pod.path!r}) as fd, namespaces.entered(fd):
    namespaces._setns = lambda fd: -1
print("continued in the wrong namespace")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=20
    )
    assert (ended.returncode, ended.stdout) == (70, "")
    assert "cannot return" in ended.stderr


async def test_a_thousand_looks_leave_nothing_behind(bed: Bed) -> None:
    await bed.converge(WANTED)

    def open_now() -> tuple[object, ...]:
        gc.collect()
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), children

    bed.netlink.observe(bed.attachment, WANTED)
    before = open_now()
    for _ in range(1000):
        with namespaces.opened(bed.pod.path):
            assert bed.plan(WANTED) == ()
    assert open_now() == before


class DisturbedSocket:
    """A real socket that calls ``before_second`` before it reads the second datagram."""

    def __init__(self, real: socket.socket, before_second: Callable[[], object]) -> None:
        self._real, self._before_second, self.reads = real, before_second, 0

    def recv(self, size: int) -> bytes:
        self.reads += 1
        if self.reads == 2:
            self._before_second()
        return self._real.recv(size)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


async def test_a_table_that_changes_while_it_is_read_is_read_again(
    bed: Bed, tmp_path: Path
) -> None:
    """A dump of several datagrams can miss a concurrent change; the kernel sets NLM_F_DUMP_INTR.

    It does not set it on a dump of addresses filtered by link (6.18): there one observation can
    miss an address, and the next one finds it.
    """
    await bed.converge(WANTED)
    script = tmp_path / "addresses"
    script.write_text(
        "".join(f"addr add 10.20.{n >> 8}.{n & 255}/32 dev eth0\n" for n in range(1500))
    )
    bed.pod.ip("-batch", str(script))
    with bed.pod.inside():
        pod = transport.Socket()
    with pod:
        whole = len(pod.dump(rtnetlink.get_addresses(0)))
        delete = partial(bed.pod.ip, "addr", "del", "10.20.0.0/32", "dev", "eth0")
        pod._socket = disturbed = DisturbedSocket(pod._socket, delete)  # type: ignore[assignment]
        found = [str(rtnetlink.address(body).ip) for body in pod.dump(rtnetlink.get_addresses(0))]
    assert disturbed.reads > 2
    assert len(found) == len(set(found)) == whole - 1
    assert "10.20.0.0/32" not in found


def test_boot_id_is_the_kernels() -> None:
    assert namespaces.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
