"""A virtual machine with a stock kernel in the place of a bed's node.

QEMU runs in the node's space and ends with it. The guest's network is the space's by QEMU's user
mode, so it reaches the bed's API server and OVN databases as any node does. The machine's files are
read-only in it, except for the bed's directory.
"""

from __future__ import annotations

import compileall
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import cache, guest_boot, images, kernel, layout, progress, runtime, underlay
from testbed.bed import Bed
from testbed.kernel import Accelerator, Kernel
from testbed.node import Node
from testbed.service import Service
from testbed.virtual_node import VirtualNode

PROJECT = Path(__file__).resolve().parents[2]
PARTS = {layout.ETCD, layout.APISERVER, layout.CENTRAL, layout.BARE}
KUBELET_PARTS = PARTS | {layout.MANAGER, layout.SCHEDULER, layout.ASSIGN}
PYTHONPATH = ":".join(str(PROJECT / part) for part in ("operator", "cni", "tests"))
# In seconds, for an emulated processor on a busy machine; on an idle one a boot takes 15 s.
BOOT_TIMEOUT, CHASSIS_TIMEOUT = 240.0, 90.0
MEMORY, PROCESSORS = "2G", "2"
# A guest that waits for a processor cannot keep time, and its token buckets lose tokens.
NICE = "-10"
# With the kernel's autogroups, niceness counts only within a session, and sessions have their own.
PRIORITY = (
    'if [ -e /proc/self/autogroup ]; then echo "$0" >/proc/self/autogroup; fi 2>/dev/null; '
    'exec nice -n "$0" "$@"'
)


@dataclass(frozen=True, slots=True)
class Booted:
    """The result of a boot: its kernel, how it ran, and how long it took in seconds."""

    of: Kernel
    release: str
    accelerator: Accelerator
    seconds: float


def boot_node(bed: Bed, stock: Kernel, accelerator: Accelerator) -> Booted:
    """Boot the bed's first node and return once it is usable.

    That is when the southbound database has its chassis and its command server answers. The bed's
    programs of that node then run in the guest. Raises BedError if QEMU ends or a timeout passes.
    """
    node, began = Node.load(bed.name, bed.node().role), time.monotonic()
    for part in ("operator", "cni", "tests"):  # the guest cannot write bytecode
        compileall.compile_dir(PROJECT / part, quiet=2)
    mark = node.directory / layout.BOOTED
    mark.unlink(missing_ok=True)
    if bed.node_count > 1:
        _lay_tunnel(node)
    words = ["sh", "-c", PRIORITY, NICE, *_words(bed, stock, accelerator)]
    machine = node.spawn("qemu", words, env={"PATH": _path(), "TERM": "dumb"})
    node.spawn(
        "relay",
        [sys.executable, "-m", "testbed.relay", str(guest_boot.PORT)],
        env={"PYTHONPATH": PYTHONPATH},
    )
    release = machine.wait_ready(
        lambda: mark.read_text() if mark.exists() else None, timeout=BOOT_TIMEOUT
    )
    _wait_for_commands(bed, machine)
    find = ("--bare", "--columns=name", "find", "chassis", f"name={node.name}")
    machine.wait_ready(lambda: bed.sbctl(*find).strip(), timeout=CHASSIS_TIMEOUT)
    seconds = time.monotonic() - began
    progress.say(
        f"  Linux {release} booted in {seconds:.0f} s ({accelerator}), its chassis registered"
    )
    bed.nodes[0] = VirtualNode.of(node)
    return Booted(stock, release, accelerator, round(seconds, 1))


def _lay_tunnel(node: Node) -> None:
    """Give the space the address of the tunnel's end too, from which QEMU forwards Geneve."""
    node.sh(
        f"ethtool -K {underlay.TUNNEL} tx off; ip link set {underlay.TUNNEL} up;"
        f"ip addr replace {layout.tunnel_ip(0)}/24 dev {underlay.TUNNEL}"
    )


def up(name: str) -> Bed:
    """Bring up a bed whose node is a virtual machine with kubelet, and leave it up."""
    stock = kernel.stock()
    accelerator = kernel.accelerator(stock)
    bed = Bed.up(name, parts=KUBELET_PARTS)
    try:
        boot_node(bed, stock, accelerator)
        start_kubelet(bed)
    except BaseException:
        bed.down()
        raise
    return bed


def start_kubelet(bed: Bed) -> None:
    """Start containerd, kubelet and kube-proxy in the guest; return once its Node is registered."""
    node, plane = bed.node(), bed.control_plane
    runtime.start_containerd(node)
    for archive in images.archives():
        runtime.import_image(node, archive)
    bed.say(f"{node.role}: containerd ready, images imported")
    service = runtime.start_kubelet(node, plane, layout.node_ip(0))
    words = ("get", "node", node.role, "--ignore-not-found", "--output=name")
    service.wait_ready(lambda: bed.kubectl(*words))
    bed.say(f"{node.role}: kubelet registered")
    proxy = runtime.start_proxy(node, plane)
    shown = ["iptables-save", "--table=nat"]
    proxy.wait_ready(lambda: layout.API_SERVICE_IP in node.run(shown, check=False))
    bed.say(f"{node.role}: kube-proxy ready")


def run(bed: Bed, script: str, timeout: float = 120) -> str:
    """Run a shell script in the guest and return its output; BedError if it fails."""
    return VirtualNode.of(bed.node()).sh(script, timeout=timeout)


def _words(bed: Bed, stock: Kernel, accelerator: Accelerator) -> list[str]:
    ports = (guest_boot.PORT, guest_boot.STREAM_PORT)
    forwarded = [f"tcp:127.0.0.1:{port}-:{port}" for port in ports]
    # The API server reaches kubelet at the node's own address.
    forwarded += [f"tcp:{layout.node_ip(0)}:{guest_boot.KUBELET_PORT}-:{guest_boot.KUBELET_PORT}"]
    tunnel = [layout.tunnel_ip(0)] if bed.node_count > 1 else []
    forwarded += [f"udp:{each}:{guest_boot.GENEVE}-{each}:{guest_boot.GENEVE}" for each in tunnel]
    network = "user,id=n0," + ",".join(f"hostfwd={each}" for each in forwarded)
    qemu = ["-netdev", network, "-device", "virtio-net-pci,netdev=n0", "-no-reboot"]
    program = [sys.executable, "-m", "testbed.guest_boot", bed.name, bed.node().role, *tunnel]
    inside = f"exec env PYTHONPATH={PYTHONPATH} {' '.join(program)}"
    return [
        *(
            "vng",
            "--run",
            str(stock.image),
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
        *("--rwdir", str(bed.directory), "--rodir", str(cache.root()), "--rodir", str(PROJECT)),
        "--append=net.ifnames=0",  # eth0, whether or not the machine's files include udevd
        *(f"--qemu-opts={word}" for word in qemu),
        *("--", inside),
    ]


def _path() -> str:
    """Return a PATH for vng, which calls its own other programs by name."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"


def _wait_for_commands(bed: Bed, machine: Service) -> None:
    def answer() -> bool:
        try:
            return run(bed, "echo here", timeout=20) == "here\n"
        except (OSError, AssertionError, json.JSONDecodeError):
            return False

    machine.wait_ready(answer, timeout=BOOT_TIMEOUT)
