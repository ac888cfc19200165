"""ovnlet put into a bed as an operator would: image imported, `kubectl apply -k`, until the nodes are Ready."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from testbed import images, layout, pki, runtime
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.space import Space

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = "ovnlet-system"
DAEMONSET, CONTROLLER = "daemonset/ovnlet", "deployment/ovnlet-controller"


def load(bed: Bed, project: Path = PROJECT) -> str:
    """Build the agent's image and import it on every node; its reference."""
    reference, archive = images.agent_image(project)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: runtime.import_image(node, archive), bed.nodes))
    return reference


def overlay(
    bed: Bed, reference: str, project: Path = PROJECT, of: str = "base", **settings: str
) -> Path:
    """A kustomization over one of the project's that names the image and what else is the bed's own.

    ``settings`` are the controller's, by their variables' names.
    """
    home = bed.directory / "manifests" / of
    shutil.copytree(project / "manifests", home / "ovnlet", dirs_exist_ok=True)
    name, _, tag = reference.rpartition(":")
    body = {
        "namespace": NAMESPACE,
        "resources": [f"ovnlet/{of}"],
        "images": [{"name": "localhost/ovnlet", "newName": name, "newTag": tag}],
        **(_database(bed, home, settings) if of == "standalone" else _prefixes()),
    }
    (home / "kustomization.yaml").write_text(json.dumps(body))
    return home


def _prefixes() -> dict[str, Any]:
    """Where there are no Subnets that say so."""
    setting = {"name": "OVNLET_CLUSTER_CIDRS", "value": layout.PODS}
    patch = [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": setting}]
    return {"patches": [{"target": {"kind": "DaemonSet"}, "patch": json.dumps(patch)}]}


def _database(bed: Bed, home: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Where OVN's northbound is, the controller's keys for it, and no more replicas than there are nodes for."""
    keys, names = (
        pki.directory(bed.directory),
        {"tls.key": "controller.key", "tls.crt": "controller.crt"},
    )
    for name, source in (names | {"ca.crt": "ca.crt"}).items():
        shutil.copy(keys / source, home / name)
    chosen = {"OVNLET_OVN_NB": f"ssl:{layout.CONTROL_IP}:{layout.NB_PORT}", **settings}
    literals = [f"{name}={value}" for name, value in chosen.items()]
    return {
        "configMapGenerator": [
            {"name": "ovnlet-controller-settings", "behavior": "merge", "literals": literals},
        ],
        "secretGenerator": [{"name": "ovnlet-controller-ovn", "files": [*names, "ca.crt"]}],
        "replicas": [{"name": "ovnlet-controller", "count": min(2, len(bed.nodes))}],
    }


def suitable(bed: Bed) -> str:
    """Which of the project's kustomizations this bed needs."""
    return "base" if layout.ASSIGN in bed.parts else "standalone"


def apply(bed: Bed, project: Path = PROJECT, **settings: str) -> str:
    """The whole installation; returns once every node is Ready, which an agent that serves makes it.

    Where nobody plays the controller, ours comes with the agent, with these settings.
    """
    reference = load(bed, project)
    of = suitable(bed)
    bed.kubectl("apply", "-k", str(overlay(bed, reference, project, of, **settings)))
    wait_for(lambda: all_ready(bed), "nodes Ready", timeout=90, every=0.2)
    for workload in [DAEMONSET, *([CONTROLLER] if of == "standalone" else [])]:
        bed.kubectl("-n", NAMESPACE, "rollout", "status", workload, "--timeout=60s", timeout=70)
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


def agent_processes(node: Space) -> list[int]:
    return [
        int(word) for word in node.sh("pgrep -f '^/usr/bin/python3.*ovnlet agent' || :").split()
    ]


def dismissed(bed: Bed, node: str = "n0") -> None:
    """Return once the agent of a node where it may not stay has ended, and its pod is no more.

    kubelet 1.20 can take a minute to tell of a pod's end, and until then the DaemonSet makes no other.
    """
    wait_for(
        lambda: not agent_processes(bed.space(node)),
        f"the end of {node}'s agent",
        timeout=90,
        every=0.1,
    )
    if pods := agent_pods(bed, node):
        bed.kubectl(
            "-n",
            NAMESPACE,
            "delete",
            "pod",
            "--ignore-not-found",
            "--force",
            "--grace-period=0",
            *pods,
        )
