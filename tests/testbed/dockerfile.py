"""A build of the Dockerfile without docker or registry, compared with the image of testbed.images.

`make image` runs it. buildah builds on a Debian root made by mmdebstrap from this machine's mirror.
Both images must have the same files under /usr/local and /opt. What pip records of its call may
differ. The plugin, compiled by Debian's compiler in one and by this machine's in the other, must
give the same answer. The result is build/image.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed import apt, images, layers, progress
from testbed.space import CLEAN

PROJECT = Path(__file__).resolve().parents[2]
REPORT = PROJECT / "build/image.json"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INSIDE = "/run/machine-ca.crt"
OURS = ("usr/local/bin", "usr/local/lib", "opt")
PIP_RECORDS = ("RECORD", "REQUESTED", "direct_url.json", "INSTALLER")
BASE, IMAGE = "localhost/debian:minbase", "localhost/ovnlet:dockerfile"
Files = dict[str, str]


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah with its own storage, which is removed with `home`."""

    home: Path

    def run(self, *words: str | Path) -> str:
        """Run buildah and return its output; SystemExit with what it printed if it fails."""
        done = subprocess.run(
            [
                "buildah",
                f"--root={self.home}/storage",
                f"--runroot={self.home}/run",
                *map(str, words),
            ],
            env=os.environ | {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"buildah {words[0]}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    def debian(self) -> None:
        """Build the base image, which elsewhere is `debian:…-slim`."""
        suite, conf = platform.freedesktop_os_release()["VERSION_CODENAME"], self.home / "apt.conf"
        conf.write_text(
            subprocess.run(
                ["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True
            ).stdout
        )
        options = ["--mode=root", "--variant=minbase", "--skip=output/dev", f"--aptopt={conf}"]
        progress.run(["mmdebstrap", *options, suite, self.home / "root.tar", apt.mirror()])
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, self.home / "root.tar", "/")
        self.run("commit", "--quiet", container, BASE)

    def build(self) -> None:
        """Build the Dockerfile with this machine's mirror and package index.

        The image keeps nothing of them.
        """
        (self.home / "pip.conf").write_text(f"[global]\ncert = {INSIDE}\n{_index()}")
        mounts = {
            self.home / "apt.conf": "/etc/apt/apt.conf.d/99machine",
            self.home / "pip.conf": "/etc/pip.conf",
            CERTIFICATES: INSIDE,
        }
        limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        flags = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
        # The limits that apply here: in a container buildah may not be allowed to raise its own.
        for name, number in limits.items():
            flags.append("--ulimit={}={}:{}".format(name, *resource.getrlimit(number)))
        self.run(
            "build",
            "--pull=never",
            "--network=host",
            f"--build-arg=BASE={BASE}",
            *flags,
            f"--tag={IMAGE}",
            PROJECT,
        )


def _index() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"index-url = {done.stdout.strip()}\n" if done.returncode == 0 else ""


def files(root: Path) -> Files:
    """Return each file of ours under `root`, with its mode and the digest of its contents."""
    found = {}
    for path in (path for folder in OURS for path in (root / folder).rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name not in PIP_RECORDS:
            name = path.relative_to(root)
            made = (
                answer(path)
                if name == layers.PLUGIN
                else hashlib.sha256(path.read_bytes()).hexdigest()
            )
            found[str(name)] = f"{path.stat().st_mode:o} {made}"
    return found


def answer(plugin: Path) -> str:
    """Return what the plugin answers to VERSION in a root without any other file."""
    words: list[str | Path] = ["chroot", plugin.parent, f"/{plugin.name}"]
    done = subprocess.run(
        words,
        env=CLEAN | {"CNI_COMMAND": "VERSION"},
        input="{}",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def unpack(archive: Path, tree: Path) -> Path:
    """Unpack the layers of the registry-less image that are not Debian's, and return their root."""
    with tarfile.open(archive) as tar:
        tar.extractall(tree / "oci", filter="data")
    home = tree / "oci"
    manifest = home / _place(
        json.loads((home / "index.json").read_text())["manifests"][0]["digest"]
    )
    (tree / "root").mkdir()
    for layer in json.loads(manifest.read_text())["layers"][1:]:
        packed = ["--zstd"] * layer["mediaType"].endswith("zstd")
        words: list[str | Path] = [
            "tar",
            *packed,
            "-xf",
            home / _place(layer["digest"]),
            "-C",
            tree / "root",
        ]
        subprocess.run(words, check=True)
    return tree / "root"


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a directory, and remove it afterwards with whatever buildah has mounted in it."""
    home = Path(tempfile.mkdtemp(prefix="ovnlet-image-"))
    try:
        yield home
    finally:
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for point in reversed([each for each in mounted if each.startswith(f"{home}/")]):
            subprocess.run(["umount", point], check=True)
        shutil.rmtree(home)


def main() -> None:
    """Build and compare; SystemExit if files differ."""
    _, archive = images.agent_image(PROJECT)
    with scratch_directory() as home:
        builder, other = Builder(home), home / "other"
        other.mkdir()
        with progress.step("a Debian root"):
            builder.debian()
        with progress.step("Dockerfile"):
            builder.build()
        container = builder.run("from", "--pull=never", IMAGE)
        root = Path(builder.run("mount", container))
        version = subprocess.run(
            ["chroot", root, "ovnlet", "--version"], check=True, capture_output=True, text=True
        ).stdout
        here, there = files(root), files(unpack(archive, other))
        unlike = sorted(
            name for name in here.keys() | there.keys() if here.get(name) != there.get(name)
        )
        size = subprocess.run(
            ["du", "-sm", root], check=True, capture_output=True, text=True
        ).stdout.split()[0]
    report = {
        "version": version.strip(),
        "MB unpacked": int(size),
        "files of ours": len(here),
        "unlike": unlike,
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(
        json.dumps(
            report | {"MB packed, registry-less": round(archive.stat().st_size / 1e6, 1)}, indent=1
        )
    )
    print(REPORT.read_text())
    if unlike:
        raise SystemExit(f"{len(unlike)} files differ from the registry-less image's")


if __name__ == "__main__":
    main()
