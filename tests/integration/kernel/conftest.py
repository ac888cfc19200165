"""One guest for the floor, booted once, with a real agent; its logs go to build/evidence/kernel."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

from integration.kernel.node import GuestNode
from testbed import guest, progress
from testbed import kernel as stock
from testbed.assign import NETWORK
from testbed.bed import Bed
from testbed.guest import Booted
from testbed.service import wait_for

NAME = os.environ.get("OVNLET_KERNEL_BED", "floor-kernel")  # two checkouts at once need two names
EVIDENCE = guest.PROJECT / "build" / "evidence" / "kernel"
LOGS = ("qemu", "ovsdb-server", "ovs-vswitchd", "ovn-controller", "agent", "node-floor")


@pytest.fixture(scope="session")
def both() -> Iterator[tuple[Bed, Booted]]:
    """Give the bed and its booted guest.

    Nothing is skipped: if the guest does not boot, every test fails with its console's output.
    """
    subprocess.run(["make", "-s", "-C", guest.PROJECT / "cni" / "plugin"], check=True)
    if Bed.is_alive(NAME):  # of a run that was killed
        Bed.attach(NAME).down()
    kernel = stock.stock()
    with ThreadPoolExecutor() as pool:
        able = pool.submit(stock.accelerator, kernel)
        with Bed.up(NAME, nodes=1, parts=guest.PARTS) as bed:
            try:
                bed.nbctl(*NETWORK.split())
                wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
                booted = guest.boot_node(bed, kernel, able.result())
                record_boot("boot", booted)
                yield bed, booted
            finally:
                _keep(bed)


@pytest.fixture(scope="session")
def bed(both: tuple[Bed, Booted]) -> Bed:
    """Give the bed."""
    return both[0]


@pytest.fixture(scope="session")
def booted(both: tuple[Bed, Booted]) -> Booted:
    """Give the guest's first boot."""
    return both[1]


def record_boot(name: str, boot: Booted) -> None:
    """Write what a boot was to the evidence."""
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    figures = {"kernel": boot.release, "accelerator": boot.accelerator, "seconds": boot.seconds}
    (EVIDENCE / f"{name}.json").write_text(json.dumps(figures) + "\n")


def _keep(bed: Bed) -> None:
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    for log in LOGS:
        if (path := bed.node().log(log)).exists():
            shutil.copyfile(path, EVIDENCE / f"{log}.log")
    progress.say(f"  the guest's logs: {EVIDENCE}")


@pytest.fixture(scope="session")
def serving(bed: Bed) -> list[GuestNode]:
    """Give a list of the node whose agent serves now.

    A test that reboots the node replaces it by the new one.
    """
    node = GuestNode.of(bed)
    node.start()
    return [node]


@pytest_asyncio.fixture
async def node(serving: list[GuestNode]) -> AsyncIterator[GuestNode]:
    """Give the guest with its agent; afterwards detach with DEL what the test left attached."""
    (node,) = serving
    yield node
    (node,) = serving
    await asyncio.gather(*(node.delete(sandbox) for sandbox in node.sandboxes))
    await node.end_sandboxes(node.sandboxes)
    for pod in list(node.pods):
        node.delete_pod(pod)
    node.bed.nbctl(*_lsp_dels(node))


def _lsp_dels(node: GuestNode) -> list[str]:
    names = [
        line.partition("(")[2].rstrip(")")
        for line in node.bed.nbctl("lsp-list", "ovn-default").splitlines()
    ]
    words = [
        word for name in names if name.endswith(".default") for word in ("--", "lsp-del", name)
    ]
    return words[1:] or ["show"]
