"""The Helm chart, by Helm's own engine: it makes the objects of the kustomizations, and refuses
wrong values.
"""

from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from integration.apiserver.conftest import MANIFESTS
from testbed.bed import Bed

HOME = MANIFESTS.parent
CHART = HOME / "chart"
SYSTEM = "ovnlet-system"
# Each mode with the kustomization that it is made from.
MODES = {"standalone": "standalone", "beside-kube-ovn": "with-kube-ovn", "agent": "base"}
Object = dict[str, Any]


def rendered(values: Object) -> list[Object]:
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values, name="ovnlet", namespace=SYSTEM)
    files = [text for name, text in texts.items() if name.endswith(".yaml")]
    return [body for text in files for body in yaml.safe_load_all(text) if body]


def comparable(bodies: list[Object]) -> dict[tuple[str, str], Object]:
    """Return the objects by kind and name, without what only one of the two tools writes.

    kustomize writes namespaces, the Namespace, and a hash behind a ConfigMap's name. Helm has an
    image's tag from the chart, a checksum of settings, and keeps kinds.
    """
    found = {}
    for body in bodies:
        meta = body["metadata"]
        meta.pop("namespace", None)
        meta.pop("annotations", None) if body["kind"] == "CustomResourceDefinition" else None
        if body["kind"] in ("DaemonSet", "Deployment"):
            _plain(body["spec"]["template"])
        if body["kind"] == "ConfigMap":
            meta["name"] = "ovnlet-controller-settings"
        if body["kind"] != "Namespace":
            found[body["kind"], meta["name"]] = body
    return found


def _plain(template: Object) -> None:
    template["metadata"].get("annotations", {}).pop("checksum/settings", None)
    if not template["metadata"].get("annotations", True):
        del template["metadata"]["annotations"]
    (container,) = template["spec"]["containers"]
    container["image"] = container["image"].partition(":")[0]
    container["env"] = sorted(container["env"], key=lambda one: str(one["name"]))
    for source in container.get("envFrom", []):
        source["configMapRef"]["name"] = "ovnlet-controller-settings"


@pytest.mark.parametrize(("mode", "kustomization"), MODES.items())
def test_the_chart_makes_the_objects_of_the_kustomization(
    bed: Bed, mode: str, kustomization: str
) -> None:
    text = bed.kubectl("kustomize", str(HOME / kustomization))
    expected = comparable([body for body in yaml.safe_load_all(text) if body])
    made = comparable(rendered({"mode": mode}))
    assert made.keys() == expected.keys()
    for name, body in expected.items():
        assert made[name] == body, name


def test_helm_finds_no_fault_in_the_chart() -> None:
    found = helm.lint(str(CHART))
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "both"},
        {"image": {"repository": ""}},
        {"agent": {"settings": {"cluster_cidrs": "10.16.0.0/16"}}},
        {"agent": {"settings": {"OVNLET_MTU": 1400}}},
        {"controller": {"replicas": -1}},
        {"agents": {}},
    ],
)
def test_wrong_values_are_refused(values: Object) -> None:
    with helm.Chart.load(str(CHART)) as chart, pytest.raises(helm.HelmError):
        chart.render(values, name="ovnlet", namespace=SYSTEM)


def test_values_reach_the_objects() -> None:
    values = {
        "image": {"repository": "registry.example/ovnlet", "tag": "v2"},
        "agent": {
            "settings": {"OVNLET_HTTP": "127.0.0.1:9999", "OVNLET_MTU": "1400"},
            "nodeSelector": {"zone": "a"},
        },
        "controller": {"replicas": 3, "settings": {"OVNLET_OVN_NB": "tcp:192.0.2.1:6641"}},
    }
    found = comparable(rendered(values))
    pod = found["DaemonSet", "ovnlet"]["spec"]["template"]["spec"]
    env = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert (env["OVNLET_HTTP"], env["OVNLET_MTU"]) == ("127.0.0.1:9999", "1400")
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "zone": "a"}
    assert pod["containers"][0]["image"] == "registry.example/ovnlet"
    assert found["Deployment", "ovnlet-controller"]["spec"]["replicas"] == 3
    settings = found["ConfigMap", "ovnlet-controller-settings"]["data"]
    assert settings == {"OVNLET_OVN_NB": "tcp:192.0.2.1:6641"}


def test_the_release_has_its_own_namespace(tmp_path: Path) -> None:
    with helm.Chart.load(str(CHART)) as chart:
        package = chart.save(str(tmp_path))
    with helm.Chart.load(package) as chart:
        texts = chart.render({}, name="ovnlet", namespace="elsewhere")
    assert "elsewhere" in "".join(texts.values())
    assert SYSTEM not in "".join(texts.values())
