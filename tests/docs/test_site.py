"""The documentation is a site that people can search, and a link that leads nowhere fails it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from docs.blocks import DOCS, ROOT


def build(home: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of docs/, as `make site` does."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(home / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        words, cwd=home, env=quiet, capture_output=True, text=True, check=False, timeout=120
    )


def copy(home: Path) -> Path:
    shutil.copytree(DOCS, home / "docs")
    shutil.copy(ROOT / "mkdocs.yml", home)
    return home


def test_each_page_is_in_the_site_and_in_its_search(tmp_path: Path) -> None:
    done = build(copy(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    index = json.loads((tmp_path / "site/search/search_index.json").read_text())
    found = {each["location"].partition("#")[0] for each in index["docs"] if each["text"]}
    for page in DOCS.rglob("*.md"):
        name = str(page.relative_to(DOCS).with_suffix(""))
        where = f"{name.removesuffix('index')}/".replace("//", "/").removeprefix("/")
        assert (tmp_path / "site" / where / "index.html").is_file(), page
        assert where in found, page


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = copy(tmp_path) / "docs/index.md"
    for broken in ("[x](how-to/nowhere.md)", "[x](how-to/install.md#nowhere)"):
        text = page.read_text()
        page.write_text(f"{text}\n{broken}\n")
        done = build(tmp_path)
        assert done.returncode
        assert "nowhere" in done.stdout + done.stderr
        page.write_text(text)
