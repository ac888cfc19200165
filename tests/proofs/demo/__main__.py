"""`python -m demo`: the whole story, a table and `build/demo.json` at the end; exit code 0 if all of it went well."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial

from proofs.demo import scenes
from proofs.demo.breakage import heal
from proofs.demo.story import Scene, Story
from testbed import clean, deploy, images, kubernetes, layout, packages
from testbed.bed import Bed
from testbed.inventory import Inventory, compare, inventory
from testbed.machine import machine
from testbed.node import Node
from testbed.workloads import Cluster

BUILD = deploy.PROJECT / "build"
BED = os.environ.get("OVNLET_DEMO_BED", "demo")


def main() -> int:
    story = Story(BUILD)
    began = time.monotonic()
    try:
        with story.scene("install packages, build Kubernetes and the images (cached)") as scene:
            packages.ensure()
            scene.saw(
                f"Kubernetes: {kubernetes.assets()}",
                *(f"image: {path.name}" for path in images.archives()),
            )
            scene.saw(f"image: {images.agent_image(deploy.PROJECT)[0]}")
        before = machine(BED)
        try:
            _on_two_nodes(story)
        finally:
            clean.remove(BED)
        with story.scene("the machine is as it was before") as scene:
            _same(scene, lambda: compare(before, machine(BED)))
    except Exception:  # noqa: BLE001 - a demo that fails says where, in its table
        story.console.print(traceback.format_exc(), markup=False, highlight=False, emoji=False)
    good = story.finish()
    story.console.print(
        f"{'all of it' if good else 'NOT all of it'} went well, in {time.monotonic() - began:.0f} s"
    )
    return 0 if good else 1


def _on_two_nodes(story: Story) -> None:
    with story.scene(
        "bring up two nodes: etcd, API server, kubelet, containerd, OVS; OVN over TLS"
    ) as scene:
        bed = Bed.up(BED, nodes=2, parts=layout.STANDALONE)
        scene.saw(bed.kubectl("get", "nodes", "-o", "wide"))
    cluster = Cluster(bed)
    scenes.install(story, bed)
    scenes.make_subnet(story, cluster)
    scenes.first_pods(story, cluster)
    before = [inventory(node) for node in bed.nodes]
    pods = scenes.start(story, cluster)
    scenes.meet(story, cluster, pods)
    scenes.edit(story, cluster, pods)
    heal(story, cluster, pods)
    with story.scene("delete the pods: both nodes are as they were before them") as scene:
        cluster.clear()
        for node, had in zip(bed.nodes, before, strict=True):
            _same(scene, partial(_differences, had, node))
    scenes.delete_subnet(story, cluster)
    scenes.who_wrote(story, bed)


def _differences(had: Inventory, node: Node) -> list[str]:
    return compare(had, inventory(node))


def _same(scene: Scene, look: Callable[[], list[str]]) -> None:
    """kubelet takes its own time to unmount and forget a pod; what differs after that is left behind."""
    end = time.monotonic() + 30
    while (left := look()) and time.monotonic() < end:
        time.sleep(0.5)
    scene.check(not left, "left behind: " + "; ".join(left))
    scene.saw("no difference")


if __name__ == "__main__":
    sys.exit(main())
