"""The files of a release on an empty node: nothing else of the checkout is used.

The image is imported from its archive and the chart installed from its package. Then the
controller becomes another user, as manifests/components/non-root says, and serves the next pod.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from proofs.install.lifecycle import doctor
from proofs.install.report import Report
from proofs.tools.chart import credentials
from testbed import deploy, layout, runtime
from testbed.bed import Bed
from testbed.release import building
from testbed.service import wait_for
from testbed.workloads import Cluster, deployment, pod, subnet

NON_ROOT = deploy.PROJECT / "manifests/components/non-root/kustomization.yaml"


def run(bed: Bed) -> None:
    """Run all steps and write build/release.json. Raise at the first that fails."""
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "dist"
        report = Report("release")
        with report.step("build the release") as step:
            version = building.build(deploy.PROJECT, out).semantic
            step.record(*sorted(path.name for path in out.iterdir()))
        with report.step("import the image, helm install the package, node Ready") as step:
            assert not deploy.all_ready(bed)
            _install(bed, out)
            wait_for(lambda: deploy.all_ready(bed), "nodes Ready", timeout=90, every=0.2)
            deploy.rolled_out(bed, deploy.DAEMONSET, deploy.CONTROLLER)
            step.record(*_images(bed))
            assert _images(bed) == {f"localhost/ovnlet:{version}"}
        with report.step("pods run, and the agent has the release's version") as step:
            cluster = Cluster(bed)
            cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True))
            cluster.apply(deployment("some", 2))
            one, two = cluster.running(2)
            assert one.reaches(two.ips[0])
            step.record(_said(bed), *doctor(bed))
            assert version.partition("-")[0] in _said(bed)
        with report.step("the controller as another user gives a pod its address") as step:
            step.record(_other_user(bed))
            cluster.apply(pod("later"))
            cluster.running(3)
            step.record(*(f"user {user}" for user in _users(bed)))
            assert _users(bed) == ["65532"]


def _install(bed: Bed, out: Path) -> None:
    (archive,), (package,) = out.glob("*.oci.tar"), out.glob("*.tgz")
    for node in bed.nodes:
        runtime.import_image(node, archive)
    bed.kubectl("create", "namespace", deploy.NAMESPACE)
    credentials(bed)
    database = {"OVNLET_OVN_NB": f"ssl:{layout.CONTROL_IP}:{layout.NB_PORT}"}
    values = {"controller": {"replicas": 1, "settings": database}}
    with helm.Config(kubeconfig_path=str(bed.kubeconfig), namespace=deploy.NAMESPACE) as config:
        config.install(str(package), "ovnlet", values, timeout=120)


def _images(bed: Bed) -> set[str]:
    words = ("-n", deploy.NAMESPACE, "get", "pods", "-o", "json")
    pods: list[dict[str, Any]] = json.loads(bed.kubectl(*words))["items"]
    return {each["spec"]["containers"][0]["image"] for each in pods}


def _said(bed: Bed) -> str:
    words = ("-n", deploy.NAMESPACE, "exec", deploy.DAEMONSET, "--", "ovnlet", "--version")
    return bed.kubectl(*words).strip()


def _other_user(bed: Bed) -> str:
    """Apply the component's patch, and wait until its replica has taken over."""
    (patch,) = yaml.safe_load(NON_ROOT.read_text())["patches"]
    body = json.dumps(yaml.safe_load(patch["patch"]))
    bed.kubectl("-n", deploy.NAMESPACE, "patch", deploy.CONTROLLER, "-p", body)
    deploy.rolled_out(bed, deploy.DAEMONSET, deploy.CONTROLLER)
    return f"{deploy.CONTROLLER} patched"


def _users(bed: Bed) -> list[str]:
    """Return the users of the controllers that run, as the node's kernel has them."""
    node = bed.node()
    pids = map(str, deploy.controller_processes(node))
    return [node.run(["stat", "-c", "%u", f"/proc/{pid}"]).strip() for pid in pids]
