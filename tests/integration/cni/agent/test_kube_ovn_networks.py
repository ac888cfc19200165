"""What users have beside kube-ovn-cni: networks of its type by a meta-plugin, and `IP` objects."""

import json
from pathlib import Path

import pytest

from integration.cni.agent.node import AgentNode, InsideRuntime, until
from integration.cni.agent.test_kube_ovn_socket import (
    FLAGS,
    SECOND,
    fields,
    post,
    second_network,
)
from testbed import meta_networks
from testbed.assign import SWITCH
from testbed.meta_plugin import PLUGIN

pytestmark = pytest.mark.review2
META = Path("/opt/cni/bin") / PLUGIN
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


@pytest.mark.long
async def test_a_network_of_type_kube_ovn_by_a_meta_plugin(bare: AgentNode) -> None:
    """Its definition stays as users have it: the meta-plugin starts `kube-ovn`, which is ours."""
    provider = "n1.default.ovn"
    bare.start(
        *FLAGS,
        f"--plugin={bare.plugin}",
        "--cni-bin-dir=/opt/cni/bin",
        "--cni-conf-dir=/etc/cni/net.d",
        "--kube-ovn-files=replace",
    )
    meta_networks.install(bare.bed, bare.space)
    given = {"type": "kube-ovn", "server_socket": SECOND, "provider": provider}
    bare.bed.kubectl("apply", "-f", "-", stdin=json.dumps(meta_networks.definition("n1", given)))
    sandbox = await bare.sandbox()
    pod = sandbox.pod
    annotations = second_network(pod, provider)
    listed = {meta_networks.NETWORKS: "n1", f"{provider}.kubernetes.io/routed": "true"}
    bare.annotate(pod, annotations | listed)
    address = annotations[f"{provider}.kubernetes.io/ip_address"]
    port, mac = f"{pod.port}.{provider}", annotations[f"{provider}.kubernetes.io/mac_address"]
    bare.bed.nbctl("lsp-add", SWITCH, port, "--", "lsp-set-addresses", port, f"{mac} {address}")
    await until_quiet(bare)
    before = await bare.look()
    config = json.loads(await bare.run("cat", meta_networks.CONFIG))
    meta = InsideRuntime(META, Path(SECOND), "", bare.space.path("/"))
    outcome = await meta.call("ADD", config, meta.env("ADD", **sandbox.env))
    assert outcome.exit_code == 0, (outcome, bare.logged()[-3000:])
    for name, own in ("eth0", pod.v4), ("net1", address):
        text = await bare.inside(sandbox, "ip", "-j", "address", "show", "dev", name)
        assert own in {info["local"] for info in json.loads(text)[0]["addr_info"]}
    shown = bare.bed.api.get(f"/api/v1/namespaces/default/pods/{pod.name}")["metadata"]
    status = json.loads(shown["annotations"][meta_networks.STATUS])
    assert [(each["name"], each["ips"]) for each in status][1:] == [("default/n1", [address])]
    assert (await meta.call("DEL", config, meta.env("DEL", **sandbox.env))).exit_code == 0
    bare.bed.nbctl("lsp-del", port)
    await bare.same(before)
    bare.kill()
    await bare.sh(f"rm -rf {meta_networks.CONFIG} {META} {meta_networks.STATE}")
    await bare.sh("rm -f /opt/cni/bin/ovnlet /opt/cni/bin/kube-ovn /etc/cni/net.d/01-ovnlet*")


async def until_quiet(node: AgentNode) -> None:
    """Return once the agent has installed its files."""

    async def installed() -> bool:
        return "kube-ovn" in await node.run("ls", "/opt/cni/bin")

    await until(installed, "kube-ovn in the plugins' directory", 20)


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
