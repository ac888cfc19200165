"""What an agent's token may write where the policy of the agents is applied (E8)."""

from copy import deepcopy
from pathlib import Path

import pytest

from kit.admission import Object, Policy
from ovnlet.core.annotations import CHASSIS

pytestmark = pytest.mark.review2

MANIFESTS = Path(__file__).parents[2] / "manifests"
AGENT = "system:serviceaccount:ovnlet-system:ovnlet"
NAMES_NODE = "authentication.kubernetes.io/node-name"
NODE: Object = {
    "metadata": {
        "name": "n1",
        "labels": {"kubernetes.io/os": "linux"},
        "annotations": {"ovn.kubernetes.io/ip_address": "100.64.0.2"},
    },
    "status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "NetworkUnavailable", "status": "False"},
        ],
    },
}
READY = "net1.provider-network.kubernetes.io/ready"
BARE: Object = {"metadata": {"name": "n1"}}


def allows(before: Object, after: Object, on: str | None = "n1", resource: str = "nodes") -> bool:
    """Return whether the agent of this node may write; None is a token that names no node."""
    policy = Policy(MANIFESTS / "components/agent-guard/policy.yaml")
    extra = None if on is None else {NAMES_NODE: [on]}
    return policy.allows(before, after, AGENT, extra=extra, resource=resource)


def edited(path: str, value: object) -> Object:
    body: Object = deepcopy(NODE)
    *parents, last = path.split(".")
    target = body
    for each in parents:
        target = target[each]
    target[last] = value
    return body


def test_e8_an_agent_writes_what_it_writes_to_its_own_node() -> None:
    annotations = NODE["metadata"]["annotations"]
    unavailable = [
        NODE["status"]["conditions"][0],
        {"type": "NetworkUnavailable", "status": "True"},
    ]
    for after in (
        NODE,
        edited("metadata.annotations", annotations | {CHASSIS: "c1"}),
        edited("status.conditions", unavailable),
        edited("status.conditions", NODE["status"]["conditions"][:1]),
        edited("metadata.labels", NODE["metadata"]["labels"] | {READY: "true"}),
    ):
        assert allows(NODE, after)
        assert not allows(NODE, after, "n2"), "the token of another node's agent"
        assert not allows(NODE, after, None), "a token that names no node"
    assert allows(BARE, BARE | {"metadata": {"name": "n1", "annotations": {CHASSIS: "c1"}}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status.addresses", [{"type": "InternalIP", "address": "192.0.2.2"}]),
        ("status.addresses", []),
        ("status.conditions", []),
        ("status.conditions", [{"type": "Ready", "status": "False"}]),
        ("metadata.labels", {"kubernetes.io/os": "linux", "role": "control-plane"}),
        ("metadata.annotations", {"ovn.kubernetes.io/ip_address": "100.64.0.9"}),
        ("metadata.annotations", {}),
        ("metadata.annotations", NODE["metadata"]["annotations"] | {"volumes": "x"}),
    ],
)
def test_e8_not_even_of_its_own_node_anything_else(path: str, value: object) -> None:
    assert not allows(NODE, edited(path, value))


def test_e8_of_pods_only_those_on_its_node() -> None:
    here: Object = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}
    assert allows(here, here, resource="pods")
    assert not allows(here, here, "n2", resource="pods")
    unbound: Object = {"metadata": {"name": "p"}, "spec": {}}
    assert not allows(unbound, unbound, resource="pods")


def test_e8_others_are_not_concerned() -> None:
    policy = Policy(MANIFESTS / "components/agent-guard/policy.yaml")
    assert policy.allows(NODE, edited("status.addresses", []), "system:node:n1", resource="nodes")
    assert policy.resources == {"nodes", "nodes/status", "pods", "pods/status"}
