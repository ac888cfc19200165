"""A guest with a stock kernel in the place of a bed's node: booted in the node's space, gone when the space ends.

Its network is the space's by QEMU's user mode, so the bed's API server and OVN databases are where they are for any
node. The machine's files are read-only in there, but for the bed's directory.
"""

from __future__ import annotations

import compileall
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from integration.cni.agent import exec_agent
from integration.kernel import boot
from testbed import layout, progress
from testbed.bed import Bed
from testbed.kernel import Accelerator, Kernel
from testbed.service import BedError, Service
from testbed.space import CLEAN

PROJECT = Path(__file__).resolve().parents[3]
PARTS = {layout.ETCD, layout.APISERVER, layout.CENTRAL, layout.BARE}
PYTHONPATH = ":".join(str(PROJECT / part) for part in ("operator", "cni", "tests"))
# An emulated processor beside a busy machine; a boot takes 15 s on an idle one.
BOOT, CHASSIS = 240.0, 90.0
MEMORY, PROCESSORS = "2G", "2"
# A guest that waits for a processor cannot keep its own time, and loses what its buckets would have let pass.
NICE = "-10"


@dataclass(frozen=True, slots=True)
class Booted:
    """What a boot was."""

    of: Kernel
    release: str
    accelerator: Accelerator
    seconds: float


def boot_node(bed: Bed, kernel: Kernel, accelerator: Accelerator) -> Booted:
    """Boot the bed's first node; returns when the southbound database knows its chassis and its hands answer."""
    node, began = bed.node(), time.monotonic()
    for part in ("operator", "cni", "tests"):  # the guest cannot write what it compiles
        compileall.compile_dir(PROJECT / part, quiet=2)
    mark = node.directory / "booted"
    mark.unlink(missing_ok=True)
    words = ["nice", "-n", NICE, *_words(bed, kernel, accelerator)]
    machine = node.spawn("qemu", words, env={"PATH": _path(), "TERM": "dumb"})
    node.spawn(
        "relay",
        [sys.executable, "-m", "integration.kernel.relay", str(boot.PORT)],
        env={"PYTHONPATH": PYTHONPATH},
    )
    release = machine.wait_ready(lambda: mark.read_text() if mark.exists() else None, timeout=BOOT)
    _until_hands_answer(bed, machine)
    find = ("--bare", "--columns=name", "find", "chassis", f"name={node.name}")
    machine.wait_ready(lambda: bed.sbctl(*find).strip(), timeout=CHASSIS)
    seconds = time.monotonic() - began
    progress.say(
        f"  Linux {release} booted in {seconds:.0f} s ({accelerator}), its chassis registered"
    )
    return Booted(kernel, release, accelerator, round(seconds, 1))


def run(bed: Bed, script: str, timeout: float = 120) -> str:
    """A shell script in the guest."""
    request = {"argv": ["sh", "-euc", script], "env": CLEAN, "stdin": ""}
    told = exec_agent.ask_now(bed.node().path("/"), request, timeout)
    stdout, stderr = (exec_agent.text(told[stream]) for stream in ("stdout", "stderr"))
    if told["exit_code"]:
        raise BedError(f"guest: {script}: status {told['exit_code']}: {stderr or stdout}")
    return stdout


def _words(bed: Bed, kernel: Kernel, accelerator: Accelerator) -> list[str]:
    network = f"user,id=n0,hostfwd=tcp:127.0.0.1:{boot.PORT}-:{boot.PORT}"
    qemu = ["-netdev", network, "-device", "virtio-net-pci,netdev=n0", "-no-reboot"]
    inside = f"exec env PYTHONPATH={PYTHONPATH} {sys.executable} -m integration.kernel.boot {bed.name} {bed.node().role}"
    return [
        *(
            "vng",
            "--run",
            str(kernel.image),
            "--user",
            "root",
            "--disable-microvm",
            "--disable-monitor",
            "--verbose",
        ),
        *(["--disable-kvm"] if accelerator == "emulation" else []),
        *(
            "--cpus",
            PROCESSORS,
            "--memory",
            MEMORY,
            "--name",
            bed.node().role,
            "--cwd",
            str(PROJECT),
        ),
        *("--rwdir", str(bed.directory), "--rodir", str(kernel.directory), "--rodir", str(PROJECT)),
        "--append=net.ifnames=0",  # with or without an udevd in the machine's files
        *(f"--qemu-opts={word}" for word in qemu),
        *("--", inside),
    ]


def _path() -> str:
    """vng calls its own other programs by name."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"


def _until_hands_answer(bed: Bed, machine: Service) -> None:
    def answer() -> bool:
        try:
            return run(bed, "echo here", timeout=20) == "here\n"
        except (OSError, AssertionError, json.JSONDecodeError):
            return False

    machine.wait_ready(answer, timeout=BOOT)
