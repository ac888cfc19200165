"""The version of a release, from the tag of its commit.

A commit without a tag of its own gets a version before the next patch of the last tag, with the
number of commits since and the commit. Without any tag that is the version in pyproject.toml.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)(?:-(alpha|beta|rc)\.(\d+))?")
_DESCRIBED = re.compile(r"(.+)-(\d+)-g([0-9a-f]+)")
_STATED = re.compile(r'^version = ".*"$', re.MULTILINE)
_SHORT = {"alpha": "a", "beta": "b", "rc": "rc"}  # by PEP 440


@dataclass(frozen=True, slots=True)
class Version:
    """A version as each kind of file writes it, and the commit that it is made from."""

    python: str  # by PEP 440, of wheel and sdist
    semantic: str  # by Semantic Versioning, of chart and image; a tag of an image has no plus
    commit: str
    seconds: int  # of the commit's date, since 1970

    @property
    def date(self) -> str:
        """The commit's date by RFC 3339."""
        return datetime.fromtimestamp(self.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def of(repository: Path) -> Version:
    """Return the version of the commit that is checked out.

    SystemExit if files differ from the commit, or if its last tag is no version.
    """
    if changed := git(repository, "status", "--porcelain", "--untracked-files=no"):
        raise SystemExit(f"a release is made from a commit; these files differ:\n{changed}")
    commit, seconds = git(repository, "log", "-1", "--format=%H %ct").split()
    described = git(
        repository, "describe", "--tags", "--long", "--always", "--abbrev=12", "--match=v[0-9]*"
    )
    if found := _DESCRIBED.fullmatch(described):
        python, semantic = _since(found[1], int(found[2]), found[3])
    else:
        stated = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
        many = int(git(repository, "rev-list", "--count", "HEAD"))
        python, semantic = _before(stated, many, described)
    return Version(python, semantic, commit, int(seconds))


def state(version: Version, project: Path) -> None:
    """Write the version into pyproject.toml, from which package, plugin and commands have it."""
    path = project / "pyproject.toml"
    text, many = _STATED.subn(f'version = "{version.python}"', path.read_text())
    if many != 1:
        raise SystemExit(f"{path} has {many} lines that state a version, instead of one")
    path.write_text(text)


def export(repository: Path, version: Version, target: Path) -> None:
    """Write the files of the commit to a directory, with the version stated in them."""
    target.mkdir(parents=True)
    archive = ["git", "-C", str(repository), "archive", "--format=tar", version.commit]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as made:
        subprocess.run(["tar", "-x", "-C", target], stdin=made.stdout, check=True)
    if made.returncode:
        raise SystemExit(f"git archive ended with status {made.returncode}")
    state(version, target)


def git(repository: Path, *words: str) -> str:
    """Return what git prints."""
    done = subprocess.run(
        ["git", "-C", repository, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _since(tag: str, commits: int, commit: str) -> tuple[str, str]:
    found = _TAG.fullmatch(tag)
    if found is None:
        raise SystemExit(f"the tag {tag} is no version such as v1.2.3 or v1.2.3-rc.1")
    major, minor, patch = (int(part) for part in found.groups()[:3])
    base = f"{major}.{minor}.{patch}"
    if not commits:
        return f"{base}{_SHORT[found[4]]}{found[5]}" if found[4] else base, tag.removeprefix("v")
    return _before(base if found[4] else f"{major}.{minor}.{patch + 1}", commits, commit)


def _before(base: str, commits: int, commit: str) -> tuple[str, str]:
    return f"{base}.dev{commits}+g{commit}", f"{base}-dev.{commits}.g{commit}"
