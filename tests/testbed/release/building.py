"""All files of a release, one after the other."""

from __future__ import annotations

import tempfile
from pathlib import Path

from testbed import progress
from testbed.release import materials, parts, version
from testbed.release.version import Version


def build(repository: Path, out: Path, key: Path | None = None) -> Version:
    """Write all files of a release to a directory, in place of another's; return its version.

    SystemExit if there is anything else in it.
    """
    made = version.of(repository)
    _clear(out)
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


def _clear(out: Path) -> None:
    """Make the directory, or remove the files of a release from it."""
    out.mkdir(parents=True, exist_ok=True)
    there = set(out.iterdir())
    ours = {path for path in there if path.name.startswith(("ovnlet-", parts.CHECKSUMS))}
    if other := sorted(path.name for path in there - ours):
        raise SystemExit(f"{out} has files that are no release's: {', '.join(other)}")
    for path in ours:
        path.unlink()
