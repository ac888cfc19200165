"""A stock Debian kernel in the cache, unpacked and never installed, and whether KVM works here."""

from __future__ import annotations

import os
import platform
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed import cache, progress
from testbed.apt import Archive

# Debian's own kernel, the one for clouds, and the newest that it offers: suite and package.
STOCK = "stock"
KINDS = {
    STOCK: ("trixie", "linux-image-amd64"),
    "cloud": ("trixie", "linux-image-cloud-amd64"),
    "backports": ("trixie-backports", "linux-image-amd64"),
}
MODULES = (
    *("openvswitch", "geneve", "vxlan", "veth", "tun", "nf_conntrack", "nf_tables", "overlay"),
    *("act_police", "cls_matchall", "sch_htb", "sch_tbf", "sch_netem", "sch_ingress"),
    *("nft_ct", "nft_nat", "nft_masq", "nft_compat", "sctp", "8021q", "bonding", "ip_set"),
)
# Beside ovnlet a node may use these: NICs, offloads, the old tunnels of Open vSwitch, and others.
OTHERS = (
    *("ixgbe", "i40e", "ice", "mlx5_core", "virtio_net", "cls_flower", "act_ct", "act_mirred"),
    *("vport-geneve", "vport-vxlan", "vport-gre", "team", "macvtap", "ipvlan", "vrf", "ip_vs"),
    *("wireguard", "vhost_net", "br_netfilter", "sch_fq", "cls_bpf", "ifb"),
)
PREFIX = "linux-image-"
Accelerator = Literal["kvm", "emulation"]
# A kernel without a root file system prints the first and panics; then KVM can run a guest here.
STARTED, FAILED, START_TIMEOUT = b"Linux version", b"KVM internal error", 8.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One version with its modules, in a directory of its own."""

    directory: Path

    @property
    def version(self) -> str:
        """The version, as Debian's package names it."""
        return self.directory.name

    @property
    def image(self) -> Path:
        """The kernel's image: in /boot, or where Debian 13's backports have it, by the modules."""
        path = self.directory / "boot" / f"vmlinuz-{self.version}"
        return path if path.exists() else self.modules / "vmlinuz"

    @property
    def modules(self) -> Path:
        """The directory of its modules."""
        return self.directory / "usr" / "lib" / "modules" / self.version


def stock(kind: str = "") -> Kernel:
    """Return the newest kernel of a kind in the cache, or else fetch the one that Debian has now.

    Without a kind OVNLET_KERNEL names it, or it is Debian's own. SystemExit if the machine is not
    amd64, or the kind is unknown.
    """
    if platform.machine() != "x86_64":
        raise SystemExit(
            f"the kernel floor boots an amd64 kernel; this machine is {platform.machine()}"
        )
    chosen = kind or os.environ.get("OVNLET_KERNEL") or STOCK
    if chosen not in KINDS:
        raise SystemExit(f"no such kernel: {chosen}; known: {', '.join(KINDS)}")
    folder = cache.subdirectory("kernel" if chosen == STOCK else f"kernel-{chosen}")
    if not (found := _complete(folder)):
        with cache.locked(folder):
            if not (found := _complete(folder)):
                found = [_fetch(folder, *KINDS[chosen])]
    return found[-1]


def lacks(kernel: Kernel, names: Sequence[str] = MODULES) -> list[str]:
    """Return which modules this kernel does not have; by default of those that ovnlet uses."""
    lists = (kernel.modules / name for name in ("modules.dep", "modules.builtin"))
    text = "".join(path.read_text() for path in lists)
    return [name for name in names if f"/{name}.ko" not in text]


def _complete(folder: Path) -> list[Kernel]:
    paths = sorted(folder.glob("[0-9]*"), key=lambda path: path.stat().st_mtime)
    return [Kernel(path) for path in paths if Kernel(path).image.exists()]


def _fetch(folder: Path, suite: str, newest: str) -> Kernel:
    with cache.scratch(folder) as scratch, progress.step(f"fetch {newest} of {suite}"):
        (scratch / "apt").mkdir()
        archive = Archive(scratch / "apt", suite)
        (package,) = [name for name in archive.depends(newest) if name.startswith(PREFIX)]
        version, tree = package.removeprefix(PREFIX), scratch / package
        # Newer versions have their modules, and some the image itself, in packages of their own.
        parts = [name for name in archive.depends(package) if name.endswith(version)]
        archive.unpack([package, *parts], tree)
        (tree / "lib").symlink_to("usr/lib")
        progress.run(["depmod", "-b", tree, version])
        return Kernel(tree.rename(folder / version))


def accelerator(kernel: Kernel) -> Accelerator:
    """Return "kvm" only if a kernel prints its first line under it, within 8 s.

    On a virtual machine /dev/kvm may exist, and KVM still fail at once.
    """
    if not Path("/dev/kvm").exists():
        return "emulation"
    machine = ["-accel", "kvm", "-M", "q35", "-m", "256", "-nodefaults", "-no-reboot"]
    console = [
        "-display",
        "none",
        "-serial",
        "stdio",
        "-append",
        "console=ttyS0 earlyprintk=serial panic=-1",
    ]
    words: list[str | Path] = ["qemu-system-x86_64", *machine, *console, "-kernel", kernel.image]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT
    ) as qemu:
        try:
            return "kvm" if _starts(qemu) else "emulation"
        finally:
            qemu.kill()


def _starts(qemu: subprocess.Popen[bytes]) -> bool:
    assert qemu.stdout is not None
    output, end = b"", time.monotonic() + START_TIMEOUT
    with selectors.DefaultSelector() as selector:
        selector.register(qemu.stdout, selectors.EVENT_READ)
        while STARTED not in output:
            if not selector.select(end - time.monotonic()) or FAILED in output:
                return False
            if not (part := os.read(qemu.stdout.fileno(), 1 << 16)):
                return False
            output += part
    return True


def main() -> None:
    """Print the kernel's image; with `--lacks`, a line for each kind and what it lacks."""
    if "--lacks" in sys.argv:
        for kind in KINDS:
            kernel = stock(kind)
            ours, others = (", ".join(lacks(kernel, each)) for each in (MODULES, OTHERS))
            print(
                f"{kind}: {kernel.version}, lacks {ours or 'nothing'}; else {others or 'nothing'}"
            )
    else:
        print(stock().image)


if __name__ == "__main__":
    main()
