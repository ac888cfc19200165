"""The how-to pages, on a node with a pod `web`: commands work and print what the pages show."""

import os
from pathlib import Path

import pytest

from docs import blocks
from docs.session import Session
from testbed.workloads import Cluster, pod

PAGES = sorted({block.page for block in blocks.run_by("bed")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_true(cluster: Cluster, tmp_path: Path, page: Path) -> None:
    cluster.apply(pod("web"))
    cluster.running(1)
    env = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(cluster.bed.kubeconfig)}

    def on_node(line: str) -> tuple[int, str]:
        done = cluster.node.result(["bash", "-c", line])
        return done.returncode, f"{done.stdout}{done.stderr}"

    with Session(tmp_path, env, node=on_node) as session:
        for block in blocks.run_by("bed", page):
            print(f"── {block}", *session.follow(block), sep="\n")
