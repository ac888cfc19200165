"""The manifests grant what the code needs, no more, and are valid for the newest Kubernetes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ovnlet.core.settings import Settings
from ovnlet.doctor.kernel import CAPABILITIES
from ovnlet.doctor.server import NEEDED
from ovnlet.kube import objects, services
from ovnlet.kube.provider_networks import PROVIDER_NETWORKS, VLANS

MANIFESTS = Path(__file__).parents[2] / "manifests"
# Patches are no complete objects, rules are for Prometheus, and templates for Helm.
NO_OBJECTS = {"agents", "alerts", "chart", "templates"}
GROUPS = {"apps", "batch", "policy", "autoscaling"}


def read(path: Path) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


def everything() -> Iterator[dict[str, Any]]:
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        if path.name != "kustomization.yaml" and path.parent.name not in NO_OBJECTS:
            yield from read(path)


def is_kubernetes(version: str) -> bool:
    """Return whether a version is Kubernetes' own; there are no schemas of custom resources."""
    group = version.partition("/")[0]
    return "/" not in version or group in GROUPS or group.endswith(".k8s.io")


def test_every_object_is_valid_for_the_newest_kubernetes() -> None:
    newest = kubernetes_validate.latest_version()
    checked = set()
    for body in everything():
        if is_kubernetes(body["apiVersion"]):
            kubernetes_validate.validate(body, newest, strict=True)
            checked.add(body["kind"])
    assert {
        "DaemonSet",
        "ClusterRole",
        "PodDisruptionBudget",
        "ValidatingAdmissionPolicy",
    } <= checked


def test_what_the_doctor_asks_for_is_granted_and_nothing_else() -> None:
    (role,) = [body for body in read(MANIFESTS / "base/rbac.yaml") if body["kind"] == "ClusterRole"]
    granted = {
        (verb, ".".join(filter(None, (what, group))))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for what in rule["resources"]
        for verb in rule["verbs"]
    }
    assert set(NEEDED) == granted


@pytest.mark.review2
def test_e11_e15_where_the_pods_may_run() -> None:
    """The agent runs on every Linux node. The controller tolerates only what it is there for."""
    paths = ("base/daemonset.yaml", "standalone/controller.yaml")
    specs = [read(MANIFESTS / path)[0]["spec"]["template"]["spec"] for path in paths]
    assert [each["nodeSelector"] for each in specs] == [{"kubernetes.io/os": "linux"}] * 2
    agent, controller = (each["tolerations"] for each in specs)
    assert agent == [{"operator": "Exists"}]
    assert {each["key"] for each in controller} == {
        "node-role.kubernetes.io/control-plane",
        "node-role.kubernetes.io/master",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/network-unavailable",
    }
    assert {each["effect"] for each in controller} == {"NoSchedule"}


@pytest.mark.review2
def test_e15_with_selinux_the_agents_pod_manages_the_node() -> None:
    (component,) = read(MANIFESTS / "components/selinux/kustomization.yaml")
    (patch,) = component["patches"]
    assert patch["target"] == {"kind": "DaemonSet", "name": "ovnlet"}
    spec = yaml.safe_load(patch["patch"])["spec"]["template"]["spec"]
    assert spec == {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}


def test_the_controller_may_list_and_watch_what_it_follows_and_nothing_else() -> None:
    """Both versions of EndpointSlices are one right: RBAC knows groups, not versions."""
    kinds = (
        *(objects.PODS, objects.NODES, objects.SUBNETS, objects.IP_POOLS, objects.STATEFUL_SETS),
        *(services.SERVICES, services.SLICES, services.OLDER_SLICES, objects.DEFINITIONS),
        *(PROVIDER_NETWORKS, VLANS, objects.MACHINES),
    )
    (role,) = [
        body for body in read(MANIFESTS / "standalone/rbac.yaml") if body["kind"] == "ClusterRole"
    ]
    for verb in ("list", "watch"):
        granted = {
            (group, what)
            for rule in role["rules"]
            if verb in rule["verbs"]
            for group in rule["apiGroups"]
            for what in rule["resources"]
        }
        # No watch: the controller only asks whether Kube-OVN's is there.
        granted -= {("apps", "deployments")} if verb == "list" else set()
        assert granted == {(kind.group, kind.plural) for kind in kinds}, verb


def test_beside_kube_ovn_its_tools_find_the_agent_and_all_of_it_is_kept() -> None:
    """K7, and item 5 of the second review: what kube-ovn-cni kept has an owner."""
    (kustomization,) = read(MANIFESTS / "with-kube-ovn/kustomization.yaml")
    (patch,) = [yaml.safe_load(each["patch"]) for each in kustomization["patches"]]
    template = patch["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "kube-ovn-cni"}
    (container,) = template["spec"]["containers"]
    given = {
        each["name"].removeprefix("OVNLET_").lower(): each["value"] for each in container["env"]
    }
    settings = Settings(node_name="n0", **given)
    assert settings.kube_ovn_socket == "/run/openvswitch/kube-ovn-daemon.sock"
    assert settings.kube_ovn_http == "0.0.0.0:10665"
    assert (settings.encap, settings.chassis) == ("node", "observe")
    (daemonset,) = read(MANIFESTS / "base/daemonset.yaml")
    (base,) = daemonset["spec"]["template"]["spec"]["containers"]
    mounts = {each["mountPath"] for each in base["volumeMounts"]}
    assert str(Path(settings.kube_ovn_socket).parent) in mounts


@pytest.mark.review2
def test_the_lease_is_in_the_namespace_of_the_installation_e13() -> None:
    """kustomize moves the Role to the user's namespace; the setting has to follow."""
    (deployment,) = read(MANIFESTS / "standalone/controller.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each for each in container["env"]}
    field = given["OVNLET_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.namespace"


def test_the_agent_has_the_capabilities_that_the_doctor_looks_for_and_no_other() -> None:
    (daemonset,) = read(MANIFESTS / "base/daemonset.yaml")
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert set(context["capabilities"]["add"]) == set(CAPABILITIES.values())
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert "privileged" not in context
