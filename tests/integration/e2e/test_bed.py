"""The bed itself: its node runs pods with the reference plugin, and the machine is unchanged."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testbed import clean, layout
from testbed.bed import Bed
from testbed.inventory import Inventory, compare, inventory
from testbed.machine import machine
from testbed.service import BedError, wait_for
from testbed.space import Space

IMAGE = "localhost/busybox:1"
CONFLIST = {
    "cniVersion": "0.4.0",
    "name": "reference",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "subnet": "10.88.0.0/16",
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
OBSERVER = {
    "metadata": {"name": "observer"},
    "spec": {
        "hostNetwork": True,
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "volumeMounts": [
                    {
                        "name": "netns",
                        "mountPath": "/run/netns",
                        "mountPropagation": "HostToContainer",
                    }
                ],
            }
        ],
        "volumes": [{"name": "netns", "hostPath": {"path": "/run/netns"}}],
    },
}
ASK = """
import json, ssl, sys, urllib.request
url, ca, token = sys.argv[1:]
request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
context = ssl.create_default_context(cafile=ca)
print(urllib.request.urlopen(request, context=context).read().decode())
"""


@dataclass(frozen=True, slots=True)
class Whole:
    """A bed with every part, its node Ready, and the machine's inventory from before."""

    bed: Bed
    before: Inventory


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    name = f"e2e-{os.getpid()}"
    before = machine(name)
    with Bed.up(name, parts=layout.ALL_PARTS - {layout.ASSIGN}) as bed:
        bed.node().path("/etc/cni/net.d/10-reference.conflist").write_text(json.dumps(CONFLIST))
        bed.kubectl("wait", "--for=condition=Ready", "node/n0", "--timeout=30s")
        yield Whole(bed, before)


def test_kubelet_starts_a_deployment(whole: Whole) -> None:
    kubectl = whole.bed.kubectl
    kubectl("create", "deployment", "pair", f"--image={IMAGE}", "--replicas=2")
    kubectl("rollout", "status", "deployment/pair", "--timeout=60s", timeout=70)
    addresses = kubectl("get", "pods", "-lapp=pair", "-ojsonpath={.items[*].status.podIP}").split()
    assert len(addresses) == 2
    for address in addresses:
        kubectl("exec", "deployment/pair", "--", "ping", "-c1", "-W2", address)


def test_a_host_network_pod_sees_new_namespaces_and_reaches_the_api_server(whole: Whole) -> None:
    bed, node = whole.bed, whole.bed.node()
    bed.api.create("/api/v1/namespaces/default/pods", OBSERVER)
    bed.kubectl("wait", "--for=condition=Ready", "pod/observer", "--timeout=30s")
    node.run(["ip", "netns", "add", "made-later"])
    assert "made-later" in bed.kubectl("exec", "observer", "--", "cat", "/proc/self/mountinfo")
    node.run(["ip", "netns", "del", "made-later"])
    # A client in the cluster uses the service's address and the pod's own token.
    token = bed.kubectl(
        "exec", "observer", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )
    url = f"https://{layout.API_SERVICE_IP}/version"
    assert json.loads(node.run([sys.executable, "-c", ASK, url, bed.ids.ca, token]))["gitVersion"]


def test_a_static_pod_runs(whole: Whole) -> None:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "fixed"},
        "spec": {"containers": [container]},
    }
    whole.bed.node().path("/etc/kubernetes/manifests/fixed.json").write_text(json.dumps(pod))
    asked = ("get", "pod", "fixed-n0", "--ignore-not-found", "-ojsonpath={.status.phase}")
    wait_for(lambda: whole.bed.kubectl(*asked) == "Running", "the static pod to run", every=0.2)


def test_two_looks_are_equal_and_a_change_is_named(whole: Whole) -> None:
    node = whole.bed.node()
    # Pods of earlier tests may still be starting, and duplicate address detection may be running.
    before = wait_for(lambda: _quiet(node), "a node at rest", timeout=20)
    assert compare(before, inventory(node)) == []
    node.run(["ip", "route", "add", "192.0.2.0/24", "via", layout.CONTROL_IP])
    node.vsctl("set", "bridge", "br-int", "external-ids:foreign=yes")
    changes = compare(before, inventory(node))
    assert [line.partition(":")[0] for line in changes] == ["ovsdb", "routes"]
    assert "192.0.2.0/24" in changes[1]


def _quiet(space: Space) -> Inventory | None:
    first, second = inventory(space), inventory(space)
    tentative = [address for address, facts in second["addresses"].items() if "tentative" in facts]
    return second if first == second and not tentative else None


def test_a_service_is_restarted_with_the_same_words(whole: Whole) -> None:
    node = whole.bed.node()
    before = node.service("kubelet")
    after = node.restart("kubelet")
    assert not before.alive
    assert after.alive
    assert after.pid != before.pid


def test_a_rebooted_node_keeps_its_disks_and_loses_its_run(whole: Whole) -> None:
    before = whole.bed.node()
    before.run(["touch", "/run/gone", "/var/lib/kept"])
    boot = before.boot_id
    node = whole.bed.reboot()
    assert not before.alive
    assert node.boot_id != boot
    assert not node.path("/run/gone").exists()
    assert node.path("/var/lib/kept").exists()
    assert node.vsctl("get", "bridge", "br-int", "external-ids:foreign") == "yes\n"
    whole.bed.kubectl("rollout", "status", "deployment/pair", "--timeout=60s", timeout=70)


def test_down_leaves_the_machine_as_it_was(whole: Whole) -> None:
    whole.bed.down()
    assert compare(whole.before, machine(whole.bed.name)) == []


PORT = """
ip netns add pod
ip link add host type veth peer name eth0 netns pod
ip link set host up
ip -n pod link set eth0 address {mac} mtu 1400 up
ip -n pod address add {ip}/24 dev eth0
ip netns exec pod ethtool -K eth0 tx off
ovs-vsctl add-port br-int host -- set interface host external-ids:iface-id={name}
ovs-vsctl --timeout=10 wait-until interface host external_ids:ovn-installed=true
"""


def test_ports_of_two_nodes_reach_each_other_through_the_tunnel() -> None:
    with Bed.up(f"pair-{os.getpid()}", parts={layout.OVS, layout.OVN}, nodes=2) as bed:
        bed.nbctl("ls-add", "switch")
        for number, node in enumerate(bed.nodes, start=1):
            name, mac, ip = f"port{number}", f"0a:00:00:00:00:0{number}", f"10.9.0.{number}"
            bed.nbctl("lsp-add", "switch", name, "--", "lsp-set-addresses", name, f"{mac} {ip}")
            node.sh(PORT.format(name=name, mac=mac, ip=ip))
        ping = ["ip", "netns", "exec", "pod", "ping", "-W1", "10.9.0.2"]
        wait_for(
            lambda: bed.node(0).result([*ping, "-c1"]).returncode == 0, "the tunnel", every=0.1
        )
        # The largest packet that a pod may send arrives unfragmented.
        assert ", 0% packet loss" in bed.node(0).run([*ping, "-c5", "-i0.1", "-s1372", "-Mdo"])


def test_a_bed_that_lost_a_process_is_found_by_its_name_and_removed() -> None:
    name = f"dead-{os.getpid()}"
    before = machine(name)
    bed = Bed.up(name, parts={layout.OVS, layout.OVN}, nodes=2)
    with pytest.raises(BedError, match="up already"):
        Bed.up(name)
    assert name not in clean.clean(), "a bed that is up is not removed"
    os.kill(bed.node(1).pid, signal.SIGKILL)
    wait_for(lambda: not bed.node(1).alive, "the node's end")
    assert name in clean.clean()
    assert compare(before, machine(name)) == []
