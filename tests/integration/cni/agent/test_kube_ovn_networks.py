"""What users have beside kube-ovn-cni: `IP` objects of their pods."""

import json

import pytest

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.test_kube_ovn_socket import FLAGS, fields, post
from testbed.assign import SWITCH

pytestmark = pytest.mark.review2
IPS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "ips.kubeovn.io"},
    "spec": {
        "group": "kubeovn.io",
        "scope": "Cluster",
        "names": {"plural": "ips", "singular": "ip", "kind": "IP", "listKind": "IPList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


async def test_the_node_is_written_into_the_pods_ip_object(bare: AgentNode) -> None:
    """As kube-ovn-cni does for what outlives a pod; the ADD does not wait for it."""
    kubectl, node = bare.bed.kubectl, bare.space.role
    kubectl("apply", "-f", "-", stdin=json.dumps(IPS))
    kubectl("wait", "--for=condition=Established", "crd/ips.kubeovn.io", "--timeout=30s")
    bare.start(*FLAGS)
    sandbox = await bare.sandbox()
    status, answer = await post(bare, "/api/v1/add", fields(sandbox))
    assert status == 200, answer
    body = {
        "apiVersion": "kubeovn.io/v1",
        "kind": "IP",
        "metadata": {"name": sandbox.pod.port, "labels": {SWITCH: ""}},
        "spec": {"nodeName": "gone", "subnet": SWITCH},
    }
    kubectl("create", "-f", "-", stdin=json.dumps(body))

    async def is_written() -> bool:
        shown = json.loads(kubectl("get", "ip", sandbox.pod.port, "-o", "json"))
        label = shown["metadata"]["labels"].get("ovn.kubernetes.io/node-name")
        return (shown["spec"], label) == ({"nodeName": node, "subnet": SWITCH}, node)

    await until(is_written, "the node in the object", 20)
    kubectl("delete", "crd", "ips.kubeovn.io")
