"""The manifests grant what the code needs."""

from pathlib import Path
from typing import Any

import yaml

from ovnlet.doctor.kernel import CAPABILITIES
from ovnlet.doctor.server import NEEDED

MANIFESTS = Path(__file__).parents[2] / "manifests"


def objects(name: str) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all((MANIFESTS / "base" / name).read_text()) if body]


def test_what_the_doctor_asks_for_is_granted() -> None:
    (role,) = [body for body in objects("rbac.yaml") if body["kind"] == "ClusterRole"]
    granted = {(verb, what) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    assert set(NEEDED) <= granted


def test_the_agent_has_the_capabilities_that_the_doctor_looks_for_and_no_other() -> None:
    (daemonset,) = objects("daemonset.yaml")
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert set(context["capabilities"]["add"]) == set(CAPABILITIES.values())
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert "privileged" not in context
