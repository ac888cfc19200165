"""The files of a release: distributions for pip, the image, the chart, checksums, a signature."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import helm_python as helm

from testbed import images, layers, oci, progress
from testbed.release.version import Version

CHECKSUMS = "SHA256SUMS"
SIGNATURE = f"{CHECKSUMS}.minisig"
LABEL = "org.opencontainers.image"


def distributions(project: Path, out: Path) -> None:
    """Build wheel and sdist with the build backend that the image's layers use."""
    python = layers.tools(layers.Project(project).table())
    words: list[str | Path] = [
        python,
        "-I",
        "-m",
        "hatchling",
        "build",
        "-t",
        "sdist",
        "-t",
        "wheel",
        "-d",
        out,
    ]
    progress.run(words, cwd=project)


def labels(project: Path, version: Version) -> dict[str, str]:
    """Return the labels of the image, by the OCI's names."""
    table = layers.Project(project).table()["project"]
    return {
        f"{LABEL}.title": table["name"],
        f"{LABEL}.description": table["description"],
        f"{LABEL}.licenses": table["license"],
        f"{LABEL}.version": version.semantic,
        f"{LABEL}.revision": version.commit,
        f"{LABEL}.created": version.date,
    }


def image(project: Path, version: Version, out: Path) -> Path:
    """Build the image by the same code as the bed's, and return its archive."""
    config = replace(images.AGENT_CONFIG, labels=labels(project, version), created=version.date)
    _, archive = images.agent_image(project, version.semantic, config)
    target = out / f"ovnlet-{version.semantic}-{oci.architecture()}.oci.tar"
    shutil.copyfile(archive, target)
    return target


def chart(project: Path, version: Version, out: Path) -> Path:
    """Package the chart by Helm's engine, with copies of the kustomizations' files in it.

    Helm writes the time of packaging into the archive: it is written again without.
    """
    made = Path(
        helm.package(
            str(project / "manifests/chart"),
            destination=str(out),
            version=version.semantic,
            app_version=version.semantic,
        )
    )
    packed = io.BytesIO()
    with tarfile.open(made) as before, tarfile.open(fileobj=packed, mode="w") as after:
        for member in sorted(before, key=lambda one: one.name):
            after.addfile(_dated(member, version), before.extractfile(member))
    made.write_bytes(gzip.compress(packed.getvalue(), mtime=version.seconds))
    return made


def checksums(out: Path) -> Path:
    """Write the checksums of all files, as sha256sum reads them."""
    files = sorted(path for path in out.iterdir() if not path.name.startswith(CHECKSUMS))
    lines = [f"{oci.digest_of(path).removeprefix('sha256:')}  {path.name}\n" for path in files]
    (out / CHECKSUMS).write_text("".join(lines))
    return out / CHECKSUMS


def sign(out: Path, key: Path, version: Version) -> Path:
    """Sign the checksums, and with them all files, by minisign with a key without a password."""
    comment = f"ovnlet {version.semantic}, commit {version.commit}"
    words: list[str | Path] = ["minisign", "-S", "-s", key, "-m", out / CHECKSUMS, "-t", comment]
    # It asks for the password of a key that has one, and waits for a terminal.
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise SystemExit(f"minisign: {done.stdout}{done.stderr}")
    return out / SIGNATURE


def _dated(member: tarfile.TarInfo, version: Version) -> tarfile.TarInfo:
    member.mtime = version.seconds
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
