"""ovnlet put into a bed as an operator would: image imported, `kubectl apply -k`, until the nodes are Ready."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed import images, layout, runtime
from testbed.bed import Bed
from testbed.service import wait_for

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = "ovnlet-system"
DAEMONSET = "daemonset/ovnlet"


def load(bed: Bed, project: Path = PROJECT) -> str:
    """Build the agent's image and import it on every node; its reference."""
    reference, archive = images.agent_image(project)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: runtime.import_image(node, archive), bed.nodes))
    return reference


def overlay(bed: Bed, reference: str, project: Path = PROJECT, of: str = "base") -> Path:
    """A kustomization over one of the project's that names the image and the pods' prefixes."""
    home = bed.directory / "manifests" / of
    shutil.copytree(project / "manifests", home / "ovnlet", dirs_exist_ok=True)
    name, _, tag = reference.rpartition(":")
    body = {
        "resources": [f"ovnlet/{of}"],
        "images": [{"name": "localhost/ovnlet", "newName": name, "newTag": tag}],
        "patches": [
            {"target": {"kind": "DaemonSet"}, "patch": json.dumps(_settings(OVNLET_CLUSTER_CIDRS=layout.PODS))}
        ],
    }
    (home / "kustomization.yaml").write_text(json.dumps(body))
    return home


def _settings(**variables: str) -> list[dict[str, object]]:
    where = "/spec/template/spec/containers/0/env/-"
    return [{"op": "add", "path": where, "value": {"name": name, "value": v}} for name, v in variables.items()]


def apply(bed: Bed, project: Path = PROJECT) -> str:
    """The whole installation; returns once every node is Ready, which an agent that serves makes it."""
    reference = load(bed, project)
    bed.kubectl("apply", "-k", str(overlay(bed, reference, project)))
    wait_for(lambda: all_ready(bed), "nodes Ready", timeout=90, every=0.2)
    bed.kubectl("-n", NAMESPACE, "rollout", "status", DAEMONSET, "--timeout=60s", timeout=70)
    return reference


def all_ready(bed: Bed) -> bool:
    nodes = json.loads(bed.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = [
        condition["status"] == "True"
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    return len(ready) == len(bed.nodes) and all(ready)


def agent_pods(bed: Bed, node: str = "n0") -> list[str]:
    where = ("-l", "app.kubernetes.io/name=ovnlet", f"--field-selector=spec.nodeName={node}")
    text = bed.kubectl("-n", NAMESPACE, "get", "pods", *where, "-o", "name")
    return [line.removeprefix("pod/") for line in text.split()]
