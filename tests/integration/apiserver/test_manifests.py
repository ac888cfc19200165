"""The kustomizations: the API server accepts each, and each contains what its name promises."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.apiserver.conftest import MANIFESTS
from testbed.bed import Bed

HOME = MANIFESTS.parent
COMPONENTS = ("annotation-guard", "disruption-budget", "pod-monitor")


def built(bed: Bed, folder: Path) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all(bed.kubectl("kustomize", str(folder))) if body]


def agent_env(bodies: list[dict[str, Any]]) -> dict[str, str]:
    (daemonset,) = [body for body in bodies if body["kind"] == "DaemonSet"]
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


@pytest.mark.parametrize(
    "overlay", ["base", "standalone", "with-kube-ovn", "uninstall", "uninstall-standalone"]
)
def test_an_overlay_is_taken_by_the_api_server(bed: Bed, overlay: str) -> None:
    taken = bed.kubectl(
        "apply", "-k", str(HOME / overlay), "--dry-run=server", "-o", "name"
    ).split()
    assert "daemonset.apps/ovnlet" in taken


def test_beside_kube_ovn_there_is_the_agent_alone_and_it_leaves_the_chassis_alone(bed: Bed) -> None:
    bodies = built(bed, HOME / "with-kube-ovn")
    assert agent_env(bodies)["OVNLET_CHASSIS"] == "observe"
    assert {body["kind"] for body in bodies} == {
        *("Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet")
    }


def test_components_can_be_put_on_top(bed: Bed, tmp_path: Path) -> None:
    for name in ("base", "components"):
        (tmp_path / name).symlink_to(HOME / name)
    chosen = {"resources": ["base"], "components": [f"components/{name}" for name in COMPONENTS]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(chosen))
    bodies = built(bed, tmp_path)
    assert agent_env(bodies)["OVNLET_HTTP"].startswith("0.0.0.0:")
    assert {"PodDisruptionBudget", "PodMonitor", "ValidatingAdmissionPolicy"} <= {
        body["kind"] for body in bodies
    }
