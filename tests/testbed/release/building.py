"""All files of a release, one after the other."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from testbed import progress
from testbed.release import materials, parts, version
from testbed.release.version import Version


def build(repository: Path, out: Path, key: Path | None = None) -> Version:
    """Write all files of a release to a directory, which is emptied before; return its version."""
    made = version.of(repository)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ovnlet-release-") as scratch:
        project = Path(scratch) / "project"
        version.export(repository, made, project)
        with progress.step("wheel and sdist"):
            parts.distributions(project, out)
        with progress.step("image"):
            archive = parts.image(project, made, out)
        with progress.step("chart"):
            parts.chart(project, made, out)
        with progress.step("bill of materials"):
            materials.write(archive, made, out)
    parts.checksums(out)
    if key is not None:
        parts.sign(out, key, made)
    return made
