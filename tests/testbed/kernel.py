"""A stock Debian kernel, unpacked in the cache by its version and never installed, and what can run a guest here."""

from __future__ import annotations

import os
import platform
import selectors
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed import cache, progress
from testbed.apt import Archive

SUITE, NEWEST = "trixie", "linux-image-amd64"
PREFIX = "linux-image-"
Accelerator = Literal["kvm", "emulation"]
# Without a root a kernel comes this far and panics; whoever gets there can run a guest.
STARTED, GAVE_UP, PATIENCE = b"Linux version", b"KVM internal error", 8.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One version, with its modules, in a directory of its own."""

    directory: Path

    @property
    def version(self) -> str:
        return self.directory.name

    @property
    def image(self) -> Path:
        return self.directory / "boot" / f"vmlinuz-{self.version}"


def stock() -> Kernel:
    """The newest that is in the cache, or else what Debian serves now."""
    if platform.machine() != "x86_64":
        raise SystemExit(
            f"the kernel floor boots an amd64 kernel; this machine is {platform.machine()}"
        )
    room = cache.room("kernel")
    if not (found := _complete(room)):
        with cache.locked(room):
            if not (found := _complete(room)):
                found = [_fetch(room)]
    return found[-1]


def _complete(room: Path) -> list[Kernel]:
    paths = sorted(room.glob("[0-9]*"), key=lambda path: path.stat().st_mtime)
    return [Kernel(path) for path in paths if Kernel(path).image.exists()]


def _fetch(room: Path) -> Kernel:
    with cache.workshop(room) as shop, progress.step("fetch a stock Debian kernel"):
        (shop / "apt").mkdir()
        archive = Archive(shop / "apt", SUITE)
        (package,) = [name for name in archive.depends(NEWEST) if name.startswith(PREFIX)]
        version, tree = package.removeprefix(PREFIX), shop / package
        archive.unpack([package], tree)
        (tree / "lib").symlink_to("usr/lib")
        progress.run(["depmod", "-b", tree, version])
        return Kernel(tree.rename(room / version))


def accelerator(kernel: Kernel) -> Accelerator:
    """KVM only if it carries a kernel to its first words: a nested one may have the device and stop at once."""
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
            return "kvm" if _speaks(qemu) else "emulation"
        finally:
            qemu.kill()


def _speaks(qemu: subprocess.Popen[bytes]) -> bool:
    assert qemu.stdout is not None
    said, end = b"", time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        selector.register(qemu.stdout, selectors.EVENT_READ)
        while STARTED not in said:
            if not selector.select(end - time.monotonic()) or GAVE_UP in said:
                return False
            if not (part := os.read(qemu.stdout.fileno(), 1 << 16)):
                return False
            said += part
    return True


if __name__ == "__main__":
    print(stock().image)
