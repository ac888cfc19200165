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
    """Build twice more, with an empty cache each time; SystemExit if a file differs."""
    built = [_digests(out), *(_from_nothing() for _ in range(2))]
    differing = {name for one in built for name, _ in one.items() ^ built[0].items()}
    if differing:
        raise SystemExit("differ between builds: " + ", ".join(sorted(differing)))
    print(f"three builds, two with empty caches: {len(built[0])} files, all equal")


def _from_nothing() -> dict[str, str]:
    """Build in a directory of its own with an empty cache, and return the digests."""
    kept = cache.root()
    with tempfile.TemporaryDirectory(prefix="ovnlet-release-", dir=kept) as home:
        os.environ["OVNLET_CACHE"] = f"{home}/cache"
        try:
            build(PROJECT, Path(home) / "dist")
        finally:
            os.environ["OVNLET_CACHE"] = str(kept)
        return _digests(Path(home) / "dist")


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
