"""Components for a newer Kubernetes or for the Prometheus operator.

They are validated by schema, and the annotation guard by evaluating its CEL expressions. But for
TRIED they are applied to no API server here, and each says so.
"""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

from kit.admission import Policy

MANIFESTS = Path(__file__).parents[2] / "manifests"
HOME = MANIFESTS / "components"
Object = dict[str, Any]
TRIED = {"non-root": "release-install"}  # by the target that runs it on a node


def objects(path: Path) -> list[Object]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


def names(kind: str, folder: str, name: str) -> Object:
    """Return the labels of the pods that a component's selector must find."""
    (body,) = [
        each
        for each in objects(MANIFESTS / folder)
        if each["kind"] == kind and each["metadata"]["name"] == name
    ]
    return dict(body["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize("folder", sorted(path.name for path in HOME.iterdir()))
def test_a_component_says_that_it_is_validated_by_schema_only(folder: str) -> None:
    text = (HOME / folder / "kustomization.yaml").read_text()
    said = f"make {TRIED[folder]}" if folder in TRIED else "validated by schema only"
    assert said in re.sub(r"\s*\n#\s*", " ", text)
    assert (
        f"`manifests/components/{folder}`"
        in (MANIFESTS.parent / "docs/how-to/install.md").read_text()
    )


def test_the_controller_as_another_user_needs_nothing_of_roots() -> None:
    """Its group reads the keys; the agent, which needs capabilities, is not changed."""
    (component,) = objects(HOME / "non-root/kustomization.yaml")
    (patch,) = component["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": "ovnlet-controller"}
    context = yaml.safe_load(patch["patch"])["spec"]["template"]["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert len({context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")}) == 1
    (deployment, *_) = objects(MANIFESTS / "standalone/controller.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_budget_is_valid_and_finds_the_controllers_pods() -> None:
    (budget,) = objects(HOME / "disruption-budget/budget.yaml")
    kubernetes_validate.validate(budget, kubernetes_validate.latest_version(), strict=True)
    wanted = budget["spec"]["selector"]["matchLabels"]
    assert (
        wanted.items()
        <= names("Deployment", "standalone/controller.yaml", "ovnlet-controller").items()
    )


def test_a_pod_monitor_is_valid_and_finds_the_agents_pods() -> None:
    (monitor,) = objects(HOME / "pod-monitor/pod-monitor.yaml")
    read = PodMonitor.model_validate(monitor).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    assert read == monitor, "a key that the schema does not know is not read"
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= names("DaemonSet", "base/daemonset.yaml", "ovnlet").items()


def test_the_alert_rules_are_a_valid_prometheus_rule() -> None:
    spec = yaml.safe_load((MANIFESTS / "alerts/ovnlet.rules.yaml").read_text())
    body = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    assert (
        PrometheusRule.model_validate(body).model_dump(
            mode="json", by_alias=True, exclude_none=True
        )
        == body
    )


GUARD = HOME / "annotation-guard/policy.yaml"


def pod(**annotations: str) -> Object:
    keys = {f"ovn.kubernetes.io/{name}": value for name, value in annotations.items()}
    return {"metadata": {"name": "p", "annotations": keys}}


BARE: Object = {"metadata": {"name": "p"}}
GIVEN = pod(ip_address="10.16.0.5", mac_address="0a:00:00:01:00:05", logical_switch="ovn-default")
STOLEN = pod(ip_address="10.16.0.6", mac_address="0a:00:00:01:00:05", logical_switch="ovn-default")


def test_the_guard_lets_a_user_edit_what_is_the_users() -> None:
    guard, limited = Policy(GUARD), pod(ingress_rate="5")
    assert guard.allows(BARE, BARE)
    assert guard.allows(BARE, limited)
    assert guard.allows(limited, BARE)
    assert guard.allows(
        GIVEN, {"metadata": {"annotations": GIVEN["metadata"]["annotations"] | {"routes": "[]"}}}
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [(GIVEN, STOLEN), (BARE, GIVEN), (GIVEN, BARE), (GIVEN, pod(routed="true"))],
)
def test_the_guard_refuses_an_address_that_a_user_writes(before: Object, after: Object) -> None:
    guard = Policy(GUARD)
    assert not guard.allows(before, after)
    assert not guard.allows(
        before, after, "system:serviceaccount:default:default", "system:serviceaccounts"
    )
    assert guard.allows(before, after, "system:serviceaccount:ovnlet-system:ovnlet-controller")
    assert guard.allows(before, after, "system:serviceaccount:kube-system:ovn")
    assert guard.allows(before, after, "admin", "system:masters")


@pytest.mark.parametrize(
    "key",
    [
        *("allocated", "routed", "ip_address", "mac_address", "cidr", "gateway"),
        *("logical_switch", "virtualmachine"),
    ],
)
def test_the_guard_knows_each_key(key: str) -> None:
    assert not Policy(GUARD).allows(pod(**{key: "a"}), pod(**{key: "b"}))


PROVIDERS = {
    "a second network": "n1.default.ovn",
    "one interface of several in it": "n1.default.ovn.net2",
    "addresses for another plugin": "vlan.default",
}


@pytest.mark.review2
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
@pytest.mark.parametrize(
    "key", ["ip_address", "mac_address", "allocated", "logical_switch", "virtualmachine"]
)
def test_the_guard_knows_the_keys_of_every_network_k8(provider: str, key: str) -> None:
    """K8: the address of a second interface could be edited by anybody who may edit the pod."""
    name = f"{provider}.kubernetes.io/{key}"

    def with_value(value: str) -> Object:
        annotations = {**GIVEN["metadata"]["annotations"], name: value}
        return {"metadata": {"name": "p", "annotations": annotations}}

    for before, after in (
        (with_value("a"), with_value("b")),
        (with_value("a"), GIVEN),
        (GIVEN, with_value("a")),
    ):
        assert not Policy(GUARD).allows(before, after)
        controller = "system:serviceaccount:kube-system:ovn"
        assert Policy(GUARD).allows(before, after, controller)


@pytest.mark.review2
@pytest.mark.parametrize(
    "name",
    [
        "n1.default.ovn.kubernetes.io/ingress_rate",
        "n1.default.ovn.kubernetes.io/routes",
        "kubernetes.io/gateway",
        "example.org/ip_address",
        "n1.default.ovn.kubernetes.io/ip_address_of_mine",
    ],
)
def test_the_guard_leaves_all_other_keys_to_users_k8(name: str) -> None:
    """K8: rates and routes of a second network, and what only looks alike, are the users'."""
    assert Policy(GUARD).allows(
        GIVEN, {"metadata": {"annotations": {**GIVEN["metadata"]["annotations"], name: "x"}}}
    )


@pytest.mark.review2
def test_e11_the_guard_covers_the_subresource_that_takes_annotations_too() -> None:
    assert Policy(GUARD).resources == {"pods", "pods/status"}
