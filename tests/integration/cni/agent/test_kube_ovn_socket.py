"""kube-ovn-cni's socket on a node with a real agent: both plugins, and who keeps the socket."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Pod, Sandbox
from testbed.assign import SWITCH

pytestmark = pytest.mark.review2
SECOND = "/run/openvswitch/kube-ovn-daemon.sock"
FLAGS = (f"--kube-ovn-socket={SECOND}", "--kube-ovn-http=127.0.0.1:10665")
LISTENER = (
    "import socket, time\n"
    "s = socket.socket(socket.AF_UNIX)\n"
    f"s.bind('{SECOND}')\n"
    "s.listen()\n"
    "time.sleep(600)\n"
)


async def post(node: AgentNode, route: str, fields: Mapping[str, object]) -> tuple[int, Any]:
    """Send a request as Kube-OVN's plugin does."""
    path = str(node.space.path(SECOND))
    async with (
        ClientSession(connector=UnixConnector(path)) as http,
        http.post(f"http://dummy{route}", json=dict(fields)) as answer,
    ):
        text = await answer.read()
        return answer.status, json.loads(text) if text else None


def fields(sandbox: Sandbox, **changes: object) -> dict[str, object]:
    """Return a request as the plugin of release 1.15 sends it."""
    return {
        "cni_type": "kube-ovn",
        "pod_name": sandbox.pod.name,
        "pod_namespace": "default",
        "container_id": sandbox.container_id,
        "net_ns": sandbox.netns,
        "if_name": "eth0",
        "provider": "ovn",
        "routes": None,
        "dns": {},
        "vf_driver": "",
        "deviceID": "",
        "vhost_user_socket_volume_name": "",
        "vhost_user_socket_name": "",
        "vhost_user_socket_consumption": "",
        **changes,
    }


def second_network(pod: Pod, provider: str) -> dict[str, str]:
    """Return the annotations of a second network, as the controller writes them."""
    facts = {
        "ip_address": pod.v4.replace("10.16.", "10.16.1", 1),
        "cidr": "10.16.0.0/16",
        "gateway": "10.16.0.1",
        "mac_address": pod.mac.replace("0a:", "0e:", 1),
        "logical_switch": SWITCH,
        "allocated": "true",
    }
    return {f"{provider}.kubernetes.io/{key}": value for key, value in facts.items()}


async def test_the_plugin_of_kube_ovn_attaches_and_detaches_a_pod(bare: AgentNode) -> None:
    bare.start(*FLAGS)
    sandbox = await bare.sandbox()
    before = await bare.look()
    status, answer = await post(bare, "/api/v1/add", fields(sandbox))
    assert status == 200, answer
    pod = sandbox.pod
    assert answer["address"] == f"{pod.v4},{pod.v6}"
    assert [ip["ip"] for ip in answer["ips"]] == [pod.v4, pod.v6]
    assert answer["mac_address"] == pod.mac
    assert answer["nicname"] == "eth0"
    assert answer["error"] == ""
    assert await bare.addresses(sandbox) == {pod.v4, pod.v6}
    status, answer = await post(bare, "/api/v1/del", fields(sandbox))
    assert (status, answer) == (204, None)
    await bare.same(before)
    shown = await bare.sh("curl -s http://127.0.0.1:10665/metrics")
    assert 'cni_op_latency_seconds_count{method="/api/v1/add"' in shown
    assert f'cni_wait_address_seconds_total{{node_name="{bare.space.role}"}}' in shown


async def test_a_second_network_of_type_kube_ovn(bare: AgentNode) -> None:
    """What Multus does: the pod's network, then our plugin with the attachment's configuration."""
    bare.start(*FLAGS)
    sandbox = await bare.sandbox()
    pod, provider = sandbox.pod, "n1.default.ovn"
    annotations = second_network(pod, provider) | {f"{provider}.kubernetes.io/routed": "true"}
    bare.annotate(pod, annotations)
    address = annotations[f"{provider}.kubernetes.io/ip_address"]
    port = f"{pod.port}.{provider}"
    mac = annotations[f"{provider}.kubernetes.io/mac_address"]
    bare.bed.nbctl("lsp-add", SWITCH, port, "--", "lsp-set-addresses", port, f"{mac} {address}")
    before = await bare.look()
    await bare.add(sandbox)
    config: dict[str, object] = {
        "cniVersion": "0.3.1",
        "name": "n1",
        "type": "kube-ovn",
        "server_socket": SECOND,
        "provider": provider,
        "mtu": 1300,
    }
    outcome = await bare.call("ADD", sandbox, config, CNI_IFNAME="net1")
    assert outcome.exit_code == 0, outcome
    link = json.loads(await bare.inside(sandbox, "ip", "-j", "address", "show", "dev", "net1"))[0]
    assert link["mtu"] == 1300
    assert address in {info["local"] for info in link["addr_info"]}
    twice = await bare.call("ADD", sandbox, config, CNI_IFNAME="net2")
    assert "net1" in str(twice.error["msg"])
    for name in ("net1", "eth0"):
        chosen = config if name == "net1" else None
        assert (await bare.call("DEL", sandbox, chosen, CNI_IFNAME=name)).exit_code == 0
    bare.bed.nbctl("lsp-del", port)
    await bare.same(before)


async def test_addresses_alone_change_nothing_on_the_node(bare: AgentNode) -> None:
    bare.start(*FLAGS)
    sandbox = await bare.sandbox()
    bare.annotate(sandbox.pod, second_network(sandbox.pod, "vlan.default"))
    before = await bare.look()
    status, answer = await post(
        bare,
        "/api/v1/add",
        fields(sandbox, cni_type="macvlan", provider="vlan.default", if_name="net1"),
    )
    assert status == 200, answer
    assert answer["cidr"] == "10.16.0.0/16"
    ipam = {"type": "kube-ovn", "server_socket": SECOND, "provider": "vlan.default"}
    config: dict[str, object] = {
        "cniVersion": "1.0.0",
        "name": "v",
        "type": "macvlan",
        "ipam": ipam,
    }
    outcome = await bare.call("ADD", sandbox, config, CNI_IFNAME="net1")
    assert outcome.exit_code == 0, outcome
    assert [ip["address"] for ip in outcome.body["ips"]] == [  # type: ignore[attr-defined]
        f"{answer['address']}/16"
    ]
    await bare.same(before)
    assert (await bare.call("DEL", sandbox, config, CNI_IFNAME="net1")).exit_code == 0
    await bare.same(before)


async def test_the_socket_comes_back_and_is_never_stolen(bare: AgentNode) -> None:
    """The start script of kube-ovn-cni removes it when it ends, whoever listens on it by then."""
    bare.start(*FLAGS)
    path = bare.space.path(SECOND)
    for _ in range(3):
        await bare.run("rm", SECOND)
        began = time.monotonic()
        await until(_exists(path), "the socket")
        assert time.monotonic() - began < 1
    bare.kill()
    await bare.sh(f'rm -f {SECOND}; python3 -c "{LISTENER}" >/dev/null 2>&1 & echo $! >/run/other')
    await until(_exists(path), "the other's socket")
    theirs = path.stat().st_ino
    bare.start(*FLAGS)
    await asyncio.sleep(2.5)
    assert path.stat().st_ino == theirs, "taken from a process that answers on it"
    assert "CniSocketTaken" in bare.logged()
    await bare.sh("kill -9 $(cat /run/other); rm /run/other")

    async def ours() -> bool:
        return path.stat().st_ino != theirs

    await until(ours, "the socket of a process that is gone", within=10)
    bare.kill()
    await bare.run("rm", "-f", SECOND)


async def test_the_tunnels_address_and_its_default_are_kept_k7(bare: AgentNode) -> None:
    """K7, F6: both keys stay equal, nonsense comes back, and what Kube-OVN has set is adopted."""
    name = bare.space.role
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    bare.bed.kubectl("create", "--filename=-", stdin=json.dumps(body))
    before = await encap(bare)
    assert before[0]
    assert not before[1]
    bare.start("--chassis=observe", "--encap=node")
    both = (before[0], before[0])

    async def kept() -> bool:
        return await encap(bare) == both

    await until(kept, "the default beside the address", within=15)
    for damage in (
        "set Open_vSwitch . external_ids:ovn-encap-ip=10.255.0.1",
        "remove Open_vSwitch . external_ids ovn-encap-ip",
    ):
        await bare.run("ovs-vsctl", *damage.split())
        await until(kept, damage, within=15)
    bare.kill()
    await bare.run(
        "ovs-vsctl", *["remove", "Open_vSwitch", ".", "external_ids", "ovn-encap-ip-default"]
    )
    await bare.sh("rm -rf /run/ovnlet")
    bare.bed.kubectl("delete", "node", name)


async def encap(node: AgentNode) -> tuple[str, str]:
    """Return the two keys; empty where there is none."""
    words = "--if-exists get Open_vSwitch . external_ids:"
    found = [
        await node.run("ovs-vsctl", *f"{words}{key}".split())
        for key in ("ovn-encap-ip", "ovn-encap-ip-default")
    ]
    one, other = (text.strip().strip('"') for text in found)
    return one, other


def _exists(path: Any) -> Any:
    async def exists() -> bool:
        return bool(path.exists())

    return exists
