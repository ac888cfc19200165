"""The bill of materials of the image, by CycloneDX: read from the image's own layers.

It lists Debian's packages by dpkg's status, Python's by their metadata, and the plugin.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import BytesHeaderParser, HeaderParser
from pathlib import Path, PurePosixPath
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from testbed import layers, oci
from testbed.release.version import Version

_STATUS = PurePosixPath("var/lib/dpkg/status")
_METADATA = "METADATA"


def write(archive: Path, version: Version, out: Path) -> Path:
    """Write the bill of materials of an image's archive; the same image has the same one."""
    digest = oci.manifest_digest(archive)
    image = Component(
        name="ovnlet",
        type=ComponentType.CONTAINER,
        version=version.semantic,
        bom_ref="image",
        purl=PackageURL("oci", None, "ovnlet", digest, {"arch": oci.architecture()}),
        properties=[Property(name="org.opencontainers.image.revision", value=version.commit)],
    )
    bom = Bom(
        components=_components(archive),
        serial_number=uuid5(NAMESPACE_URL, digest),
        metadata=BomMetaData(
            component=image, timestamp=datetime.fromtimestamp(version.seconds, UTC)
        ),
    )
    bom.register_dependency(image, bom.components)
    target = out / f"ovnlet-{version.semantic}-{oci.architecture()}.cdx.json"
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n")
    return target


def _components(archive: Path) -> Iterator[Component]:
    """Yield everything in the image that has a version, and the plugin."""
    for name, data in _files(archive):
        if name == _STATUS:
            yield from _debian(data.decode())
        elif name.name == _METADATA and name.parent.suffix == ".dist-info":
            yield _python(data)
        elif name == PurePosixPath(layers.PLUGIN):
            yield Component(
                name="ovnlet-cni-plugin",
                type=ComponentType.APPLICATION,
                bom_ref=f"/{layers.PLUGIN}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=_sha256(data))],
            )


def _debian(status: str) -> Iterator[Component]:
    for paragraph in filter(None, status.split("\n\n")):
        fields = HeaderParser().parsestr(paragraph)
        if not fields["Status"].endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        url = PackageURL("deb", "debian", name, version, {"arch": fields["Architecture"]})
        yield Component(name=name, version=version, purl=url, bom_ref=url.to_string())


def _python(metadata: bytes) -> Component:
    fields = BytesHeaderParser().parsebytes(metadata)
    name, version = fields["Name"], fields["Version"]
    url = PackageURL("pypi", None, name, version)
    stated = fields["License-Expression"]
    licenses = [LicenseFactory().make_from_string(stated)] if stated else []
    return Component(
        name=name, version=version, purl=url, bom_ref=url.to_string(), licenses=licenses
    )


def _files(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the files of all layers that say what is installed, and the plugin."""
    with tempfile.TemporaryDirectory() as home, tarfile.open(archive) as tar:
        tar.extractall(home, filter="data")
        manifest = json.loads(_blob(home, oci.manifest_digest(archive)).read_text())
        for layer in manifest["layers"]:
            yield from _layer(_blob(home, layer["digest"]), layer["mediaType"])


def _layer(blob: Path, media: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    words: list[str | Path] = ["zstd", "-dc", blob] if media.endswith("+zstd") else ["cat", blob]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE) as unpacked,
        tarfile.open(fileobj=unpacked.stdout, mode="r|") as tar,
    ):
        for member in tar:
            name = PurePosixPath(member.name.removeprefix("./"))
            wanted = name in (_STATUS, PurePosixPath(layers.PLUGIN)) or name.name == _METADATA
            file = tar.extractfile(member) if wanted else None
            if file is not None:
                yield name, file.read()


def _blob(home: str, digest: str) -> Path:
    return Path(home) / "blobs" / digest.replace(":", "/")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
