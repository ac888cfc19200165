"""The cache that outlives a bed: each entry is built once and appears by one rename.

A directory is its own lock (flock works on directories), so no lock file is left behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed import progress


def root() -> Path:
    """Return the directory for everything that is too expensive to build twice."""
    return Path(os.environ.get("OVNLET_CACHE") or "/var/cache/ovnlet")


def subdirectory(name: str) -> Path:
    """Return the cache's directory for one sort of thing, and create it."""
    path = root() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory`; if another run holds it, say so and wait."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"  waiting for another run that works in {directory}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Give a scratch directory on the cache's own file system, and remove it afterwards.

    The caller holds the lock of `directory`, so every older scratch directory in it was left by a
    killed run and is removed.
    """
    for stale in directory.glob(".build-*"):
        _discard(stale)
    path = Path(tempfile.mkdtemp(prefix=".build-", dir=directory))
    path.chmod(0o755)
    try:
        yield path
    finally:
        _discard(path)


def _discard(tree: Path) -> None:
    """Remove a tree, also where Go or Debian left its directories read-only."""
    for folder, _, _ in os.walk(tree):
        Path(folder).chmod(0o755)
    shutil.rmtree(tree)


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a short name for exactly these inputs."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def keep_newest(directory: Path, pattern: str, *, used: Path, count: int = 3) -> None:
    """Mark `used` as used now, and remove all but the ``count`` most recently used."""
    os.utime(used)
    for old in sorted(directory.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)[
        count:
    ]:
        if old.is_dir():
            _discard(old)
        else:
            old.unlink()
