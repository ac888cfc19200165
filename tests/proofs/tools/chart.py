"""The Helm chart on a node: installed, upgraded under a ping, rolled back, removed."""

import json
from typing import Any

import helm_python as helm

from proofs.tools.report import Report
from testbed import deploy, layout, pki
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import Cluster, deployment, subnet

RELEASE = "ovnlet"
CHART = deploy.PROJECT / "manifests" / "chart"
KINDS = (
    "daemonset,deployment,configmap,serviceaccount,clusterrole,clusterrolebinding,role,rolebinding"
)
_TIMEOUT = 120


def run(bed: Bed) -> None:
    """Run all steps and write build/chart.json. Raise at the first that fails."""
    report, cluster = Report(len(bed.nodes), "chart"), Cluster(bed)
    reference = deploy.load(bed)
    bed.kubectl("create", "namespace", deploy.NAMESPACE)
    credentials(bed)
    with helm.Config(kubeconfig_path=str(bed.kubeconfig), namespace=deploy.NAMESPACE) as config:
        with report.row("helm install, node Ready") as row:
            config.install(str(CHART), RELEASE, _values(reference, ""), timeout=_TIMEOUT)
            wait_for(lambda: deploy.all_ready(bed), "nodes Ready", timeout=90, every=0.2)
            _rolled_out(bed)
            row.record(*sorted(objects(bed)))
        cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True))
        cluster.apply(deployment("some", 3))
        one, two, _ = cluster.running(3)
        with report.row("helm upgrade under a 20 ms ping") as row:
            ping = one.ping(two.ips[0])
            config.upgrade(str(CHART), RELEASE, _values(reference, "300"), timeout=_TIMEOUT)
            _rolled_out(bed)
            assert _resync(bed) == "300"
            sent, received = ping.stop()
            row.record(f"{sent - received} of {sent} packets lost")
            assert sent == received > 50
        with report.row("helm rollback under a 20 ms ping") as row:
            ping = one.ping(two.ips[0])
            config.rollback(RELEASE, timeout=_TIMEOUT)
            _rolled_out(bed)
            assert _resync(bed) == ""
            sent, received = ping.stop()
            row.record(f"{sent - received} of {sent} packets lost")
            assert sent == received > 50
        with report.row("helm uninstall: no object is left, kinds and pods are kept") as row:
            config.uninstall(RELEASE, timeout=_TIMEOUT)
            wait_for(lambda: not objects(bed), "no object of the chart", timeout=60)
            assert "subnets.kubeovn.io" in bed.kubectl("get", "crd", "-o", "name")
            assert one.reaches(two.ips[0])
            row.record("subnets.kubeovn.io is there, two pods meet")


def _values(reference: str, resync: str) -> dict[str, Any]:
    name, _, tag = reference.rpartition(":")
    settings = {"OVNLET_RESYNC": resync} if resync else {}
    return {
        "image": {"repository": name, "tag": tag},
        "agent": {"settings": settings},
        "controller": {
            "replicas": 1,
            "settings": {"OVNLET_OVN_NB": f"ssl:{layout.CONTROL_IP}:{layout.NB_PORT}"},
        },
    }


def credentials(bed: Bed) -> None:
    """Create the Secret with the controller's key for OVN's database."""
    keys = pki.directory(bed.directory)
    names = {"tls.key": "controller.key", "tls.crt": "controller.crt", "ca.crt": "ca.crt"}
    files = [f"--from-file={name}={keys / file}" for name, file in names.items()]
    words = ("create", "secret", "generic", "ovnlet-controller-ovn")
    bed.kubectl("-n", deploy.NAMESPACE, *words, *files)


def objects(bed: Bed) -> set[str]:
    """Return the objects of the chart's kinds that have our name."""
    items = json.loads(bed.kubectl("get", KINDS, "-A", "-o", "json"))["items"]
    return {
        "/".join((one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]))
        for one in items
        if "ovnlet" in one["metadata"]["name"]
    }


def _rolled_out(bed: Bed) -> None:
    words = ("-n", deploy.NAMESPACE, "rollout", "status", "--timeout=90s")
    for workload in (deploy.DAEMONSET, deploy.CONTROLLER):
        bed.kubectl(*words, workload, timeout=100)


def _resync(bed: Bed) -> str:
    """Return the setting of the agent that runs."""
    (name,) = deploy.agent_pods(bed)
    words = ("exec", name, "--", "sh", "-c", "echo $OVNLET_RESYNC")
    return bed.kubectl("-n", deploy.NAMESPACE, *words).strip()
