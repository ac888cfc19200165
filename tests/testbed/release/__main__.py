"""`python -m testbed.release`: build a release of the commit that is checked out, in dist/.

With `--key`, sign it; with `--twice`, build it with two empty caches and compare. `join` makes one
image of those that machines of several architectures have built.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from testbed import cache, images, oci
from testbed.release.building import build
from testbed.release.version import Version

PROJECT = Path(__file__).resolve().parents[3]


def _twice(out: Path) -> None:
    """Build again with an empty cache each time; SystemExit if a file differs."""
    digests = []
    for name in ("first", "second"):
        with tempfile.TemporaryDirectory(prefix="ovnlet-release-", dir=cache.root()) as home:
            os.environ["OVNLET_CACHE"] = f"{home}/cache"
            build(PROJECT, Path(home) / name / "dist")
            digests.append(_digests(Path(home) / name / "dist"))
        del os.environ["OVNLET_CACHE"]
    differing = {name for one in digests for name in one.items() ^ _digests(out).items()}
    if differing:
        raise SystemExit("differ between builds: " + ", ".join(sorted(map(str, differing))))
    print(f"three builds, two with empty caches: {len(digests[0])} files, all equal")


def _digests(out: Path) -> dict[str, str]:
    return {path.name: oci.digest_of(path) for path in out.iterdir() if path.suffix != ".minisig"}


def _print(made: Version, out: Path, signed: bool) -> None:
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")
    (archive,) = out.glob("*.oci.tar")
    print(f"{images.AGENT}:{made.semantic} is {oci.manifest_digest(archive)}")
    print(f"for {oci.architecture()} alone: build on each architecture, then `release join`")
    if not signed:
        print("not signed: give --key, or make release KEY=…; minisign -G -W makes a key")


def main(arguments: list[str]) -> None:
    """Build a release, or join its images."""
    parser = argparse.ArgumentParser(prog="testbed.release", description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "dist")
    parser.add_argument("--key", type=Path, help="minisign's secret key, without a password")
    parser.add_argument("--twice", action="store_true", help="build with empty caches and compare")
    commands = parser.add_subparsers(dest="command")
    join = commands.add_parser("join", help="make one image of several architectures")
    join.add_argument("target", type=Path)
    join.add_argument("archives", type=Path, nargs="+")
    join.add_argument("--name", required=True, help="such as localhost/ovnlet:1.2.3")
    chosen = parser.parse_args(arguments)
    if chosen.command == "join":
        found = oci.join(chosen.archives, chosen.target, chosen.name)
        print(f"{chosen.target}: {chosen.name} for {', '.join(found)}")
        return
    made = build(PROJECT, chosen.out, chosen.key)
    _print(made, chosen.out, chosen.key is not None)
    if chosen.twice:
        _twice(chosen.out)


if __name__ == "__main__":
    main(sys.argv[1:])
