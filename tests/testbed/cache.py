"""The cache that outlives a bed: built once, published by one rename, never half there.

A directory is its own lock (flock works on directories), so no lock file is ever left behind.
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
    """Where everything lies that is too dear to build twice."""
    return Path(os.environ.get("OVNLET_CACHE") or "/var/cache/ovnlet")


def room(name: str) -> Path:
    """One kind of thing's directory in the cache."""
    path = root() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be alone in `directory`; a second run says that it waits, and waits."""
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
def workshop(directory: Path) -> Iterator[Path]:
    """A scratch directory on the cache's own file system. The caller holds the lock, so older ones are of dead runs."""
    for stale in directory.glob(".build-*"):
        _discard(stale)
    path = Path(tempfile.mkdtemp(prefix=".build-", dir=directory))
    path.chmod(0o755)
    try:
        yield path
    finally:
        _discard(path)


def _discard(tree: Path) -> None:
    """Remove a tree; Go and Debian both leave read-only directories in theirs."""
    for folder, _, _ in os.walk(tree):
        Path(folder).chmod(0o755)
    shutil.rmtree(tree)


def digest(parts: Iterable[str | bytes]) -> str:
    """A short name for exactly these inputs."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def keep_newest(directory: Path, pattern: str, *, used: Path, count: int = 3) -> None:
    """Mark `used` as used now, and drop all but the last few that were."""
    os.utime(used)
    for old in sorted(directory.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)[
        count:
    ]:
        if old.is_dir():
            _discard(old)
        else:
            old.unlink()
