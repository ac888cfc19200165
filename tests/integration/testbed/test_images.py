"""Images without a registry: an archive describes its blobs correctly and reproducibly."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from testbed import cache, images, oci

REFERENCE = "localhost/sample:7"
CONFIG = oci.Config(entrypoint=("/bin/hello",), command=("world",), environment={"PATH": "/bin"})


def sample(tree: Path) -> Path:
    """Make a small tree with a program, a link and a world-writable directory."""
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/hello").write_text("#!/bin/sh\n")
    (tree / "bin/hello").chmod(0o755)
    (tree / "bin/hallo").symlink_to("hello")
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    return tree


def read(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive."""
    with tarfile.open(archive) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """Return the blob that a descriptor points to, after checking its size and digest."""
    algorithm, _, value = descriptor["digest"].partition(":")
    data = files[f"blobs/{algorithm}/{value}"]
    assert algorithm == "sha256"
    assert hashlib.sha256(data).hexdigest() == value
    assert len(data) == descriptor["size"]
    return data


def test_an_archive_holds_what_its_index_promises(tmp_path: Path) -> None:
    layer = oci.pack(sample(tmp_path / "tree"), tmp_path / "layer")
    oci.write(tmp_path / "archive", REFERENCE, [layer, layer], CONFIG)
    files = read(tmp_path / "archive")

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == REFERENCE
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    assert config["config"] == {
        "Entrypoint": ["/bin/hello"],
        "Cmd": ["world"],
        "Env": ["PATH=/bin"],
        "WorkingDir": "/",
    }
    assert config["architecture"] == oci.architecture()
    for descriptor, unpacked in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        assert f"sha256:{hashlib.sha256(blob(files, descriptor)).hexdigest()}" == unpacked
    # Two layers of one content are one blob; nothing else is in the archive.
    assert len(files) == len(("oci-layout", "index.json", "manifest", "config", "layer"))


def test_a_squeezed_layer_unpacks_to_the_digest_it_claims(tmp_path: Path) -> None:
    plain = oci.pack(sample(tmp_path / "tree"), tmp_path / "plain")
    small = oci.squeeze(plain.blob, tmp_path / "small")
    unpacked = subprocess.run(["zstd", "-dc", small.blob], check=True, capture_output=True).stdout

    assert small.media == f"{plain.media}+zstd"
    assert small.digest == oci.digest_of(small.blob) != plain.digest
    assert small.unpacked == plain.digest == f"sha256:{hashlib.sha256(unpacked).hexdigest()}"


def test_a_layer_forgets_who_wrote_its_files_and_when(tmp_path: Path) -> None:
    first, second = sample(tmp_path / "a"), sample(tmp_path / "b")
    os.utime(second / "bin/hello", (1, 1))
    assert oci.pack(first, tmp_path / "1").digest == oci.pack(second, tmp_path / "2").digest

    with tarfile.open(tmp_path / "1") as tar:
        members = {member.name: member for member in tar}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {
        (0, 0, "", "", 0)
    }
    assert members["tmp"].mode == 0o1777
    assert members["bin/hello"].mode == 0o755
    assert members["bin/hallo"].linkname == "hello"


@pytest.mark.parametrize("change", ["content", "mode", "name"])
def test_a_layer_knows_every_change(tmp_path: Path, change: str) -> None:
    tree = sample(tmp_path / "tree")
    before = oci.pack(tree, tmp_path / "1").digest
    match change:
        case "content":
            (tree / "bin/hello").write_text("#!/bin/sh\nexit\n")
        case "mode":
            (tree / "bin/hello").chmod(0o700)
        case _:
            (tree / "bin/hello").rename(tree / "bin/hullo")
    assert oci.pack(tree, tmp_path / "2").digest != before


def test_the_small_images_are_written_once_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVNLET_CACHE", str(tmp_path))
    built = images.archives()
    written = [archive.stat().st_ino for archive in built]
    assert [archive.stat().st_ino for archive in images.archives()] == written
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(built)

    for reference, archive in zip(images.SMALL, built, strict=True):
        files = read(archive)
        (entry,) = json.loads(files["index.json"])["manifests"]
        assert entry["annotations"]["io.containerd.image.name"] == reference
        (layer,) = json.loads(blob(files, entry))["layers"]
        root = tmp_path / archive.stem
        root.mkdir()
        (root / "layer").write_bytes(blob(files, layer))
        with tarfile.open(root / "layer") as tar:
            tar.extractall(root, filter="tar")
        # The image has a link for each applet, and the applet runs by it.
        printed = subprocess.run(
            [root / "bin/echo", "applet"], check=True, capture_output=True, text=True
        ).stdout
        assert printed == "applet\n"
        assert {"sh", "ping", "httpd", "nc", "ip", "wget", "sleep"} <= {
            path.name for path in (root / "bin").iterdir()
        }


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    names = [tmp_path / f"x-{number}" for number in range(5)]
    for age, path in enumerate(names):
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "y").touch()
    cache.keep_newest(tmp_path, "x-*", used=names[4], count=2)
    assert {path.name for path in tmp_path.iterdir()} == {"x-0", "x-4", "y"}


def test_a_digest_tells_where_its_parts_end() -> None:
    assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"])
