"""Container images without a registry, as archives in the OCI image layout.

`ctr images import` reads them. They are reproducible: the same tree gives the same digest, whatever
the files' owners and dates.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEDIA = "application/vnd.oci.image"
INDEX, MANIFEST, CONFIG = (
    f"{MEDIA}.{kind}+json" for kind in ("index.v1", "manifest.v1", "config.v1")
)
LAYER = f"{MEDIA}.layer.v1.tar"
NO_DATE = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's blob on disk, and the digest of what it unpacks to."""

    blob: Path
    media: str
    digest: str
    unpacked: str

    @property
    def size(self) -> int:
        """The blob's size in bytes."""
        return self.blob.stat().st_size


@dataclass(frozen=True, slots=True)
class Config:
    """How a container of the image starts."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    created: str = NO_DATE

    def render(self, architecture: str, layers: Sequence[Layer]) -> dict[str, object]:
        """Return the image's configuration object."""
        return {
            "created": self.created,
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": list(self.entrypoint),
                "Cmd": list(self.command),
                "Env": [f"{name}={value}" for name, value in self.environment.items()],
                "WorkingDir": "/",
                **({"Labels": dict(self.labels)} if self.labels else {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.unpacked for layer in layers]},
        }


def pack(tree: Path, blob: Path) -> Layer:
    """Write everything under `tree` as a layer, owned by root and without dates."""
    with tarfile.open(blob, "w") as tar:
        for path in sorted(tree.rglob("*")):
            tar.add(path, str(path.relative_to(tree)), recursive=False, filter=_anonymous)
    digest = digest_of(blob)
    return Layer(blob, LAYER, digest, digest)


def squeeze(tar: Path, blob: Path) -> Layer:
    """Compress a tar file into a layer; meant for layers that are big and rarely made."""
    subprocess.run(["zstd", "-q", "-T2", tar, "-o", blob], check=True)
    return Layer(blob, f"{LAYER}+zstd", digest_of(blob), digest_of(tar))


def write(archive: Path, reference: str, layers: Sequence[Layer], config: Config) -> None:
    """Write the archive of an image that is called `reference` once it is imported."""
    configuration = _json(config.render(architecture(), layers))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, configuration),
            "layers": [
                {"mediaType": each.media, "digest": each.digest, "size": each.size}
                for each in layers
            ],
            **({"annotations": dict(config.labels)} if config.labels else {}),
        }
    )
    platform = {"architecture": architecture(), "os": "linux"}
    entry = _descriptor(MANIFEST, manifest) | {"platform": platform}
    with tarfile.open(archive, "w") as tar:
        _put_index(tar, reference, entry)
        for data in (manifest, configuration):
            _put(tar, _place(_digest(data)), data)
        for layer in {each.digest: each for each in layers}.values():
            tar.add(layer.blob, _place(layer.digest), filter=_anonymous)


def join(archives: Sequence[Path], target: Path, reference: str) -> list[str]:
    """Write one image of those of several architectures, and return these.

    It is an index of their manifests, from which a runtime takes that of its own architecture.
    SystemExit if two are of one architecture.
    """
    entries = [entry for archive in archives for entry in _entries(archive)]
    found = [str(entry["platform"]["architecture"]) for entry in entries]
    if len(set(found)) < len(found):
        raise SystemExit(f"two images of one architecture: {', '.join(found)}")
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    with tarfile.open(target, "w") as tar:
        _put_index(tar, reference, _descriptor(INDEX, index))
        _put(tar, _place(_digest(index)), index)
        for archive in archives:
            with tarfile.open(archive) as one:
                there = set(tar.getnames())
                for member in one:
                    if member.name.startswith("blobs/") and member.name not in there:
                        tar.addfile(_anonymous(member), one.extractfile(member))
    return found


def manifest_digest(archive: Path) -> str:
    """Return the digest by which a registry would know the image of an archive."""
    return str(_index(archive)["manifests"][0]["digest"])


def _entries(archive: Path) -> list[dict[str, Any]]:
    """Return the manifests of an archive, without its name."""
    entries: list[dict[str, Any]] = _index(archive)["manifests"]
    return [{key: entry[key] for key in entry if key != "annotations"} for entry in entries]


def _index(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("index.json")
        assert file is not None
        return dict(json.load(file))


def _put_index(tar: tarfile.TarFile, reference: str, entry: dict[str, object]) -> None:
    """Write what makes an archive a layout with one image of that name."""
    # containerd reads the name from its own annotation, other tools from the standard one.
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    entries = [entry | {"annotations": names}]
    _put(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    _put(
        tar,
        "index.json",
        _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
    )


def architecture() -> str:
    """Return Debian's name for the architecture.

    The OCI uses the same names on those that both know as amd64 and arm64.
    """
    done = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def digest_of(path: Path) -> str:
    """Return a file's digest as OCI writes it."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _descriptor(media: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media, "digest": _digest(data), "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info
