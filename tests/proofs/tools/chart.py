"""The Helm chart on a node: its first release installed, upgraded under pings to this one, rolled
back, removed, and the node as it was.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import helm_python as helm

from proofs.install import lifecycle, standalone
from proofs.install.report import Report, Step
from testbed import deploy, images, layout, pki
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import Cluster, Running, deployment, subnet

RELEASE = "ovnlet"
# The commit with the first chart.
FIRST = "ebacc30d5b"
KINDS = (
    "daemonset,deployment,configmap,serviceaccount,clusterrole,clusterrolebinding,role,rolebinding"
)
_TIMEOUT = 120
# What a step has changed may break pods a moment later.
SECONDS_AFTER = 5


def run(name: str) -> None:
    """Run all steps and write build/chart.json. Raise at the first that fails."""
    first = _first_release()
    for project in (first, deploy.PROJECT):
        images.agent_image(project)
    with Bed.up(name, parts=layout.STANDALONE) as bed:
        _steps(bed, first, Report("chart"))


def _first_release() -> Path:
    """Return a tree of the commit with the first chart. Exit if the history here lacks it."""
    tree = deploy.PROJECT / "build" / "first-release"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    words = ["git", "-C", str(deploy.PROJECT), "archive", "--format=tar", FIRST]
    done = subprocess.run(words, check=False, capture_output=True)
    if done.returncode:
        raise SystemExit(f"no commit {FIRST} here: git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", str(tree)], input=done.stdout, check=True)
    return tree


def _steps(bed: Bed, first: Path, report: Report) -> None:
    cluster = Cluster(bed)
    with report.step("inventory of the empty node"):
        before = lifecycle.prepare_node(bed)
    older, newer = (deploy.load(bed, project) for project in (first, deploy.PROJECT))
    assert older != newer
    bed.kubectl("create", "namespace", deploy.NAMESPACE)
    credentials(bed)
    with helm.Config(kubeconfig_path=str(bed.kubeconfig), namespace=deploy.NAMESPACE) as config:
        with report.step(f"helm install of {FIRST}, node Ready") as step:
            config.install(_chart(first), RELEASE, _values(older), timeout=_TIMEOUT)
            wait_for(lambda: deploy.all_ready(bed), "nodes Ready", timeout=90, every=0.2)
            deploy.rolled_out(bed, deploy.DAEMONSET, deploy.CONTROLLER)
            step.record(*sorted(objects(bed)))
        cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True))
        cluster.apply(deployment("some", 3))
        pods = cluster.running(3)
        with _pinged(report, "helm upgrade to this chart and image", pods) as step:
            config.upgrade(_chart(deploy.PROJECT), RELEASE, _values(newer), timeout=_TIMEOUT)
            deploy.rolled_out(bed, deploy.DAEMONSET, deploy.CONTROLLER)
            assert _image(bed) == newer
            assert "provider" in _subnet_fields(bed), "the kind has this release's fields"
        with _pinged(report, f"helm rollback to {FIRST}", pods) as step:
            config.rollback(RELEASE, timeout=_TIMEOUT)
            deploy.rolled_out(bed, deploy.DAEMONSET, deploy.CONTROLLER)
            assert _image(bed) == older
            cluster.apply(deployment("more", 1))
            cluster.running(4)
            step.record("a pod of the older agent runs")
        with _pinged(report, "helm uninstall: kinds and pods are kept", pods) as step:
            config.uninstall(RELEASE, timeout=_TIMEOUT)
            wait_for(lambda: not objects(bed), "no object of the chart", timeout=60)
            assert "subnets.kubeovn.io" in bed.kubectl("get", "crd", "-o", "name")
    _removed(cluster, newer, report)
    with report.step("inventory of the node identical") as step:
        lifecycle.verify_identical(bed, before, step)


def _removed(cluster: Cluster, reference: str, report: Report) -> None:
    """Remove what `helm uninstall` keeps, as docs/how-to/install.md says."""
    bed = cluster.bed
    removal = str(deploy.overlay(bed, reference, of="uninstall-standalone"))
    with report.step("manifests/uninstall-standalone: pods, rows and kinds are removed") as step:
        bed.kubectl("apply", "-k", removal)
        cluster.clear()
        step.record(*lifecycle.wait_uninstalled(bed))
        done = ("wait", "--for=condition=Complete", f"job/{standalone.JOB}", "--timeout=90s")
        bed.kubectl("-n", deploy.NAMESPACE, *done, timeout=100)
        standalone.verify_cluster(bed)
        bed.kubectl("delete", "-k", removal, "--ignore-not-found", "--timeout=90s", timeout=100)


def _chart(project: Path) -> str:
    return str(project / "manifests" / "chart")


@contextmanager
def _pinged(report: Report, what: str, pods: list[Running]) -> Iterator[Step]:
    """Give a step during which two pods ping a third every 20 ms; none may be lost."""
    with report.step(f"{what}, under 20 ms pings") as step:
        pings = [each.ping(pods[0].ips[0]) for each in pods[1:]]
        yield step
        time.sleep(SECONDS_AFTER)
        counts = [ping.stop() for ping in pings]
        step.record(*(f"{sent - received} of {sent} packets lost" for sent, received in counts))
        assert all(sent == received > 50 for sent, received in counts), counts


def _values(reference: str) -> dict[str, Any]:
    name, _, tag = reference.rpartition(":")
    return {
        "image": {"repository": name, "tag": tag},
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


def _image(bed: Bed) -> str:
    """Return the image of the agent that runs."""
    (name,) = deploy.agent_pods(bed)
    path = "jsonpath={.spec.containers[0].image}"
    return bed.kubectl("-n", deploy.NAMESPACE, "get", "pod", name, "-o", path)


def _subnet_fields(bed: Bed) -> str:
    return bed.kubectl("get", "crd", "subnets.kubeovn.io", "-o", "json")
