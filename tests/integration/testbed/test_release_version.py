"""The version of a release follows from the tag of its commit."""

import os
import subprocess
from pathlib import Path

import pytest

from testbed.release import version

STATED = '[project]\nname = "ovnlet"\nversion = "0.1.0"\n'
IDENTITY = {
    f"GIT_{who}_{what}": "a@example.com"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def git(repository: Path, *words: str) -> None:
    subprocess.run(["git", "-C", repository, *words], check=True, env=os.environ | IDENTITY)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    home = tmp_path / "repository"
    home.mkdir()
    (home / "pyproject.toml").write_text(STATED)
    git(home, "init", "-q")
    git(home, "add", "pyproject.toml")
    git(home, "commit", "-qm", "first")
    return home


@pytest.mark.parametrize(
    ("tag", "python", "semantic"),
    [("v1.2.3", "1.2.3", "1.2.3"), ("v1.3.0-rc.2", "1.3.0rc2", "1.3.0-rc.2")],
)
def test_a_tagged_commit_has_the_version_of_its_tag(
    repository: Path, tag: str, python: str, semantic: str
) -> None:
    git(repository, "tag", tag)
    found = version.of(repository)
    assert (found.python, found.semantic) == (python, semantic)


@pytest.mark.parametrize(
    ("tag", "python", "semantic"),
    [
        ("v1.2.3", "1.2.4.dev1+g{}", "1.2.4-dev.1.g{}"),
        ("v1.3.0-rc.2", "1.3.0.dev1+g{}", "1.3.0-dev.1.g{}"),
        ("other", "0.1.0.dev2+g{}", "0.1.0-dev.2.g{}"),
    ],
)
def test_a_later_commit_comes_before_the_next_version(
    repository: Path, tag: str, python: str, semantic: str
) -> None:
    git(repository, "tag", tag)
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    found = version.of(repository)
    short = found.commit[:12]
    assert (found.python, found.semantic) == (python.format(short), semantic.format(short))


def test_a_tag_that_is_no_version_is_refused(repository: Path) -> None:
    git(repository, "tag", "v1.2")
    with pytest.raises(SystemExit, match=r"v1\.2 is no version"):
        version.of(repository)


def test_only_a_commit_is_released(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(STATED + "# changed\n")
    with pytest.raises(SystemExit, match=r"pyproject\.toml"):
        version.of(repository)


def test_the_export_has_the_commits_files_and_its_version(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v1.2.3")
    (repository / "untracked").touch()
    version.export(repository, version.of(repository), tmp_path / "export")
    (path,) = (tmp_path / "export").iterdir()
    assert path.read_text() == STATED.replace("0.1.0", "1.2.3")
