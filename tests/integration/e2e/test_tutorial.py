"""The tutorial, typed into a shell as it is written: the output is what the page shows."""

import os
from pathlib import Path

import pytest

from docs import blocks
from docs.session import Session
from testbed import clean

PAGE = blocks.DOCS / "tutorials" / "a-repaired-pod.md"


@pytest.mark.long
def test_the_tutorial_is_true(tmp_path: Path) -> None:
    name = f"tutorial-{os.getpid()}"  # two checkouts at once need two names
    env = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    try:
        with Session(
            blocks.ROOT, env, told={"BED=tutorial": f"BED={name}", "bed/tutorial": f"bed/{name}"}
        ) as session:
            for block in blocks.run_by("tutorial"):
                assert block.page == PAGE
                print(f"── {block}", *session.follow(block), sep="\n")
        assert name not in clean.names()
    finally:
        clean.remove(name)
