"""A Debian archive beside the machine's own: the same mirror, another suite, its own lists.

The machine's configuration of apt (mirror, proxy, certificates) is used and never changed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from testbed import progress

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
)


def mirror() -> str:
    """Return the URI from which this machine takes Debian; SystemExit if apt knows none."""
    output = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(COMPONENT) $(LABEL)",
            "Created-By: Packages",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = [line.split(" ", 2) for line in output.splitlines()]
    # Debian labels its main archive "Debian"; apt knows the label once it has fetched the lists.
    for wanted in ("Debian", "$(LABEL)", ""):
        for uri, component, label in rows:
            if component == "main" and label == wanted and not uri.startswith("file:"):
                return uri
    raise SystemExit("apt knows no Debian mirror: `apt-get indextargets` lists none")


def keyring() -> Path:
    """Return the installed keyring of Debian's archive; SystemExit if there is none."""
    for path in KEYRINGS:
        if path.exists():
            return path
    raise SystemExit("no Debian archive keyring is installed (package debian-archive-keyring)")


class Archive:
    """One suite of the mirror, with all of apt's state in `directory`."""

    def __init__(self, directory: Path, suite: str) -> None:
        self.directory = directory
        sources = directory / "debian.sources"
        (directory / "lists" / "partial").mkdir(parents=True)
        (directory / "archives" / "partial").mkdir(parents=True)
        sources.write_text(
            f"Types: deb deb-src\nURIs: {mirror()}\nSuites: {suite}\n"
            f"Components: main\nSigned-By: {keyring()}\n"
        )
        self.options = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": directory / "lists",
            "Dir::Cache": directory,
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": "3",
        }
        self._apt("update")

    def source(self, package: str) -> Path:
        """Fetch a source package, which apt verifies, and return the path of its .dsc."""
        self._apt("source", "--download-only", package)
        return next(self.directory.glob(f"{package}_*.dsc"))

    def depends(self, package: str) -> list[str]:
        """Return the names that a package depends on.

        For a package such as linux-image-amd64, that is the newest version of the real one.
        """
        output = self._apt("depends", package, program="apt-cache")
        return [
            line.split()[1] for line in output.splitlines() if line.strip().startswith("Depends:")
        ]

    def unpack(self, packages: list[str], target: Path) -> None:
        """Fetch binary packages and unpack them under `target`, without installing them."""
        self._apt("download", *packages)
        for package in packages:
            progress.run(["dpkg-deb", "-x", next(self.directory.glob(f"{package}_*.deb")), target])

    def _apt(self, *words: str, program: str = "apt-get") -> str:
        options = [f"-o{key}={value}" for key, value in self.options.items()]
        return progress.run([program, "-q", *options, *words], cwd=self.directory)
