"""A standalone cluster with agent and controller.

Every granted right is used, no other is asked for, and nothing is left after the removal.
"""

import json
from collections.abc import Callable

from proofs.install import lifecycle
from proofs.install.report import Report, Step
from testbed import deploy, layout, rights
from testbed.bed import Bed
from testbed.service import BedError, wait_for
from testbed.workloads import OVN, Cluster, Running, deployment, subnet

REPLICAS = 3
JOB = "ovnlet-uninstall"
REQUESTED_IP = "10.16.77.77"
ACCOUNTS = (rights.AGENT, rights.CONTROLLER)
POOL = {
    "apiVersion": "kubeovn.io/v1",
    "kind": "IPPool",
    "metadata": {"name": "reserved"},
    "spec": {"subnet": "ovn-default", "ips": ["10.16.99.0/28"]},
}
# Used only where Kube-OVN's kinds are: the controller then looks for Kube-OVN's controller.
BESIDE_KUBE_OVN = {"list deployments.apps"}


def run(bed: Bed) -> None:
    """Run all steps and write build/install-alone.json. Raise at the first step that fails."""
    report, cluster = Report("install-alone"), Cluster(bed)
    with report.step("inventory of the empty node") as step:
        before = lifecycle.prepare_node(bed)
    with report.step("kubectl apply -k manifests/standalone, node Ready") as step:
        step.record(reference := deploy.apply(bed))
    with report.step(f"a Subnet with natOutgoing, and a Deployment of {REPLICAS} runs") as step:
        cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True, natOutgoing=True))
        cluster.apply(POOL)  # the controller writes its status
        cluster.apply(deployment("some", REPLICAS))
        pods = cluster.running(REPLICAS)
        step.record(*(f"{each.name}: {','.join(each.ips)}" for each in pods))
    with report.step("two repairs of the same kind are one Event, counted") as step:
        for _ in range(2):
            restore_default_route(pods[0], step)
            restore_address(bed, pods[1], step)
    with report.step("every granted right is used, and no other is asked for") as step:
        verify_rights(bed, step)
    with report.step("our nftables table exists before the removal") as step:
        step.record(*wait_for(lambda: nft_tables(bed), "our table"))
    removal = str(deploy.overlay(bed, reference, of="uninstall-standalone"))
    with report.step("kubectl apply -k manifests/uninstall-standalone while pods run") as step:
        bed.kubectl("apply", "-k", removal)
        step.record(wait_for(lambda: _waiting(bed), "the Job waits", timeout=60))
    with report.step("pods deleted: no kind, no row of ours, nodes clean") as step:
        cluster.clear()
        step.record(*lifecycle.wait_uninstalled(bed))
        done = ("wait", "--for=condition=Complete", "job/ovnlet-uninstall", "--timeout=90s")
        bed.kubectl("-n", deploy.NAMESPACE, *done, timeout=100)
        step.record(*job_log(bed).splitlines())
        verify_cluster(bed)
        used = rights.look(bed, JOB)
        assert used.used, "the Job's account is not in the audit log"
        assert not used.excess, used.excess
    with report.step(
        "kubectl delete -k manifests/uninstall-standalone, inventory of the node identical"
    ) as step:
        bed.kubectl("delete", "-k", removal, "--ignore-not-found", "--timeout=90s", timeout=100)
        lifecycle.verify_identical(bed, before, step)


def job_log(bed: Bed) -> str:
    where = ("--tail=-1", "--selector", f"app.kubernetes.io/name={JOB}")
    return bed.kubectl("-n", deploy.NAMESPACE, "logs", *where)


def _waiting(bed: Bed) -> str:
    """Return the Job's log once it says which Subnet is in use; empty before that."""
    try:
        text = job_log(bed)
    except BedError:  # its container has not started yet
        return ""
    return text if "is used by" in text else ""


def verify_cluster(bed: Bed) -> None:
    """Assert that neither a kind, nor an annotation of a Node, nor a row of ours is left."""
    assert "kubeovn.io" not in bed.kubectl("get", "crd", "--output=name")
    nodes = json.loads(bed.kubectl("get", "nodes", "--output=json"))["items"]
    assert not [key for each in nodes for key in each["metadata"]["annotations"] if OVN in key]
    assert not bed.nbctl("--bare", "--columns=name", "list", "logical_switch").split()
    assert not bed.nbctl("--bare", "--columns=name", "list", "logical_router").split()


def nft_tables(bed: Bed) -> list[str]:
    return [line for line in bed.node().sh("nft list tables").splitlines() if "ovnlet" in line]


def restore_default_route(pod: Running, step: Step) -> None:
    """Remove the default route with a foreign tool; the agent must repair it and report it."""
    pod.inside("ip", "route", "del", "default")
    route = wait_for(lambda: pod.inside("ip", "route", "show", "default").strip(), "the route")
    step.record(f"route back: {route}")


def restore_address(bed: Bed, pod: Running, step: Step) -> None:
    """Write another address as a user; the controller must restore its own and report it."""
    given = pod.ips[0]
    bed.kubectl("annotate", "--overwrite", "pod", pod.name, f"{OVN}/ip_address={REQUESTED_IP}")
    key = f"{OVN}/ip_address".replace(".", r"\.")
    words = ("get", "pod", pod.name, f"--output=jsonpath={{.metadata.annotations.{key}}}")
    shown = _if_contains(lambda: bed.kubectl(*words), given)
    step.record(f"address back: {wait_for(shown, 'the address', every=0.2)}")


def _if_contains(read: Callable[[], str], expected: str) -> Callable[[], str]:
    return lambda: text if expected in (text := read()).split(",") else ""


def verify_rights(bed: Bed, step: Step) -> None:
    """Record the rights of agent and controller; assert that none is missing and none unused.

    The audit log has a watch only when it ends, so both are restarted first.
    """
    deploy.pods_deleted(bed)

    def poll() -> bool:
        found[:] = [rights.look(bed, account) for account in ACCOUNTS]
        return not any(set(each.unused) - BESIDE_KUBE_OVN for each in found)

    found: list[rights.Rights] = []
    try:
        wait_for(poll, "every granted right to be used", timeout=60, every=1)
    finally:
        rights.record("standalone", *found)
        for each in found:
            step.record(
                f"{each.account}: {len(each.granted)} granted;"
                f" unused: {each.unused}; not granted: {each.excess}"
            )
    assert not any(each.excess for each in found)
