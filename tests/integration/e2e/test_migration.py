"""The migration page, followed on a node whose pods look as kube-ovn-cni leaves them.

ovnlet adopts the pods while they run.
"""

import json
import os
from pathlib import Path

import pytest

from docs import blocks
from docs.session import Session
from proofs.drift.adoption import disguise
from proofs.drift.pods import pod_body, target_of
from testbed import deploy
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import Cluster, Running, pod, pod_spec

CONFLIST = {
    "cniVersion": "0.3.1",
    "name": "kube-ovn",
    "plugins": [{"type": "kube-ovn", "server_socket": "/run/openvswitch/kube-ovn-daemon.sock"}],
}
LABELS = {"app": "kube-ovn-cni"}
# Stands for the agent that is replaced; it does nothing, and what the real one makes is there.
KUBE_OVN_CNI = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kube-ovn-cni", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": pod_spec() | {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]},
        },
    },
}


def _as_kube_ovn_cni_leaves_it(bed: Bed, running: list[Running], manifests: Path) -> None:
    """Remove ovnlet and every trace of it, and keep its pods running."""
    node = bed.node()
    bed.kubectl("delete", "-k", str(manifests), "--timeout=90s", timeout=100)
    for each in running:
        for line in disguise(target_of(each)):
            node.run(line)
    node.sh("rm -rf /run/ovnlet/* /etc/cni/net.d/* /opt/cni/bin/ovnlet")
    node.run(["tee", "/etc/cni/net.d/01-kube-ovn.conflist"], stdin=json.dumps(CONFLIST))
    bed.kubectl("apply", "-f", "-", stdin=json.dumps(KUBE_OVN_CNI))
    bed.kubectl(
        "-n",
        "kube-system",
        "rollout",
        "status",
        "daemonset/kube-ovn-cni",
        "--timeout=60s",
        timeout=70,
    )


@pytest.mark.long
def test_the_migration_page_is_true(tmp_path: Path) -> None:
    with Bed.up(f"migration-{os.getpid()}") as bed:
        reference, cluster = deploy.apply(bed), Cluster(bed)
        cluster.apply(pod_body("one"), pod_body("two"))
        pods = cluster.running(2)
        _as_kube_ovn_cni_leaves_it(bed, pods, deploy.overlay(bed, reference))
        ping = pods[0].ping(pods[1].ips[0])
        env = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(bed.kubeconfig)}
        home = str(deploy.overlay(bed, reference, of="with-kube-ovn"))

        def on_node(line: str) -> tuple[int, str]:
            done = bed.node().result(["bash", "-c", line])
            return done.returncode, f"{done.stdout}{done.stderr}"

        told = {"manifests/with-kube-ovn": home}
        with Session(tmp_path, env, told=told, node=on_node) as session:
            shown = [text for block in blocks.run_by("migration") for text in session.follow(block)]
        print(*shown, sep="\n")
        sent, received = ping.stop()
        print(f"{sent} sent, {received} received")
        assert sent == received
        assert received > 10
        (adopted,) = [text for text in shown if "attached" in text]
        assert {"one", "two"} == {
            line.split()[1] for line in adopted.splitlines() if line.startswith("default")
        }
        for each in pods:
            assert all(each.reaches(gateway) for gateway in ("10.16.0.1", "fd00:10:16::1"))
        assert {each["metadata"]["uid"] for each in cluster.pods()} == {
            each.body["metadata"]["uid"] for each in pods
        }
        cluster.apply(pod("three"))
        cluster.running(3)
        cluster.clear()
        wait_for(
            lambda: (
                not bed.node().sh(
                    "ovs-vsctl --bare --columns=name find Interface external_ids:vendor=kube-ovn"
                )
            ),
            "no port",
        )
