"""Deployment of ovnlet into a bed as an operator does it, with its image and `kubectl apply -k`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from testbed import images, layout, pki, runtime
from testbed.bed import Bed
from testbed.images import AGENT_CONFIG
from testbed.service import wait_for
from testbed.space import Space

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = "ovnlet-system"
DAEMONSET, CONTROLLER = "daemonset/ovnlet", "deployment/ovnlet-controller"
# Seconds. kubelet 1.20 may report a pod's end only in a round that it makes once a minute; until
# then a DaemonSet makes no other one.
POD_END_TIMEOUT = 200


def load(bed: Bed, project: Path = PROJECT) -> str:
    """Build the agent's image, import it on every node, and return its reference."""
    reference, archive = images.agent_image(project)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: runtime.import_image(node, archive), bed.nodes))
    return reference


def overlay(
    bed: Bed,
    reference: str,
    project: Path = PROJECT,
    of: str = "base",
    *,
    agent: Mapping[str, str] = {},
    **settings: str,
) -> Path:
    """Write a kustomization over one of the project's, and return its directory.

    It names the image and what else is specific to the bed. ``settings`` are the controller's and
    ``agent`` the agent's, by the names of their environment variables.
    """
    home = bed.directory / "manifests" / of
    shutil.copytree(project / "manifests", home / "ovnlet", dirs_exist_ok=True)
    name, _, tag = reference.rpartition(":")
    body = {
        "namespace": NAMESPACE,
        "resources": [f"ovnlet/{of}"],
        "images": [{"name": "localhost/ovnlet", "newName": name, "newTag": tag}],
        **(_controller(bed, home, settings) if of.endswith("standalone") else {}),
    }
    if not of.endswith("standalone"):  # the agent reads the prefixes from Subnets, if there are any
        agent = {"OVNLET_CLUSTER_CIDRS": layout.PODS, **agent}
    if agent:
        body["patches"] = [_environment(agent)]
    if of == "standalone":  # at most one replica a node
        body["replicas"] = [{"name": "ovnlet-controller", "count": min(2, len(bed.nodes))}]
    (home / "kustomization.yaml").write_text(json.dumps(body))
    return home


def _environment(agent: Mapping[str, str]) -> dict[str, Any]:
    """Return the patch that adds these to the agent's environment."""
    where = "/spec/template/spec/containers/0/env/-"
    added = ({"name": name, "value": value} for name, value in agent.items())
    patch = [{"op": "add", "path": where, "value": each} for each in added]
    return {"target": {"kind": "DaemonSet"}, "patch": json.dumps(patch)}


def _controller(bed: Bed, home: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Give the controller OVN's address and its keys for it."""
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
    }


def suitable(bed: Bed) -> str:
    """Return the name of the project's kustomization that this bed needs."""
    return "base" if layout.ASSIGN in bed.parts else "standalone"


def apply(
    bed: Bed, project: Path = PROJECT, *, agent: Mapping[str, str] = {}, **settings: str
) -> str:
    """Install ovnlet, and return its image's reference once every node is Ready.

    An agent that serves makes its node Ready. In a bed without the part `assign`, ovnlet's own
    controller is installed too, with these settings. ``agent`` are those of the agent.
    """
    reference = load(bed, project)
    of = suitable(bed)
    bed.kubectl("apply", "-k", str(overlay(bed, reference, project, of, agent=agent, **settings)))
    seconds = round(60 * max(node.patience for node in bed.nodes))
    wait_for(lambda: all_ready(bed), "nodes Ready", timeout=1.5 * seconds, every=0.2)
    workloads = [DAEMONSET, CONTROLLER] if of == "standalone" else [DAEMONSET]
    rolled_out(bed, *workloads, seconds=seconds)
    return reference


def rolled_out(bed: Bed, *workloads: str, seconds: int = POD_END_TIMEOUT) -> None:
    """Return once all pods of the workloads are as last specified, and ready.

    Raise BedError if one workload takes longer than ``seconds``.
    """
    words = ("-n", NAMESPACE, "rollout", "status", f"--timeout={seconds}s")
    for workload in workloads:
        bed.kubectl(*words, workload, timeout=seconds + 10)


def pods_deleted(bed: Bed) -> None:
    """Delete all pods of the namespace, and return once kubelet has reported their end."""
    bed.kubectl("-n", NAMESPACE, "delete", "pods", "--all", timeout=POD_END_TIMEOUT)


def all_ready(bed: Bed) -> bool:
    """Return whether every node of the bed has joined and is Ready."""
    nodes = json.loads(bed.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = [
        condition["status"] == "True"
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    return len(ready) == len(bed.nodes) and all(ready)


def agent_pods(bed: Bed, node: str = "n0") -> list[str]:
    """Return the names of the agent's pods on a node."""
    where = ("-l", "app.kubernetes.io/name=ovnlet", f"--field-selector=spec.nodeName={node}")
    text = bed.kubectl("-n", NAMESPACE, "get", "pods", *where, "-o", "name")
    return [line.removeprefix("pod/") for line in text.split()]


def agent_processes(node: Space) -> list[int]:
    """Return the PIDs, as the node's space has them, of the agent that its image started."""
    return node.pids([*AGENT_CONFIG.entrypoint, "agent"])


def controller_processes(node: Space) -> list[int]:
    """Return the PIDs, as the node's space has them, of ovnlet's controller."""
    return node.pids([*AGENT_CONFIG.entrypoint, "controller"])


def dismissed(bed: Bed, node: str = "n0") -> None:
    """Return once the agent of a node where it may not run has ended and its pod is deleted.

    kubelet 1.20 can take a minute to report a pod's end, and until then the DaemonSet makes no
    other one: the pod is deleted by force.
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
