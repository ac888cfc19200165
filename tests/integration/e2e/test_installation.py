"""Installation, upgrade, rollback and removal as the pages say, with a reader's kustomization."""

import json
import os
from pathlib import Path

import pytest

from docs import blocks
from docs.session import Session
from testbed import deploy
from testbed.bed import Bed
from testbed.inventory import compare, inventory
from testbed.service import wait_for
from testbed.workloads import Cluster, pod

HOW_TO = blocks.DOCS / "how-to"


@pytest.mark.long
def test_the_pages_of_an_installations_life_are_true(tmp_path: Path) -> None:
    with Bed.up(f"pages-{os.getpid()}") as bed:
        reference = deploy.load(bed)
        mine, removal = (
            deploy.overlay(bed, reference),
            deploy.overlay(bed, reference, of="uninstall"),
        )
        before = inventory(bed.node())["files"]
        cluster = Cluster(bed)
        env = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(bed.kubeconfig)}
        install, remove = blocks.run_by("install", HOW_TO / "install.md")
        upgrade, back = blocks.run_by("install", HOW_TO / "upgrade.md")
        with Session(mine, env, told={"-k uninstall": f"-k {removal}"}) as session:
            print(*session.follow(install))
            cluster.apply(pod("web"))
            (web,) = cluster.running(1)
            ping = web.ping("10.16.0.1")
            _name_another(bed, mine, reference)
            print(*session.follow(upgrade), *session.follow(back))
            sent, received = ping.stop()
            assert sent == received > 10
            cluster.clear()
            print(*session.follow(remove))
        ours = {name for name in before if "ovnlet" in name}
        wait_for(
            lambda: not _ours(inventory(bed.node())["files"]) - ours,
            "the node without a file of ours",
            timeout=30,
        )
        assert not compare(
            {"links": {}},
            {
                "links": {
                    k: v for k, v in inventory(bed.node())["links"].items() if k.endswith("_h")
                }
            },
        )


def _ours(files: dict[str, object]) -> set[str]:
    return {name for name in files if "ovnlet" in name}


def _name_another(bed: Bed, kustomization: Path, reference: str) -> None:
    """Name a second tag of the same content, which stands for a new release."""
    image, _, _ = reference.rpartition(":")
    ctr = [
        "ctr",
        "--address=/run/containerd/containerd.sock",
        "--namespace=k8s.io",
        "images",
        "tag",
    ]
    bed.node().run([*ctr, reference, f"{image}:v2"])
    path = kustomization / "kustomization.yaml"
    body = json.loads(path.read_text())
    body["images"][0]["newTag"] = "v2"
    path.write_text(json.dumps(body))
