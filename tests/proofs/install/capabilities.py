"""Take each capability from the agent's pod in turn, and record what fails without it."""

import json

from proofs.install.report import Report
from testbed import deploy
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import Cluster, pod

# Copied from CAPABILITIES in operator/ovnlet/doctor/kernel.py: what the agent needs to work.
CAPABILITIES = ("NET_ADMIN", "SYS_ADMIN", "NET_BROADCAST", "NET_RAW")
ADD = "/spec/template/spec/containers/0/securityContext/capabilities/add"


def run(bed: Bed) -> None:
    """Record for each capability the failure without it, and that its return repairs it."""
    report, cluster = Report("capabilities"), Cluster(bed)
    with report.step("all of them"):
        deploy.apply(bed)
        cluster.apply(pod("all"))
        cluster.running(1)
        cluster.clear()
    for name in CAPABILITIES:
        with report.step(f"without {name}") as step:
            set_capabilities(bed, [each for each in CAPABILITIES if each != name])
            cluster.apply(pod(f"without-{name.lower().replace('_', '-')}"))
            reason = wait_for(
                lambda: failure(bed, cluster), f"a failure without {name}", timeout=120, every=0.5
            )
            step.record(reason)
        set_capabilities(bed, list(CAPABILITIES))
        with report.step(f"{name} given back: the same pod runs") as step:
            cluster.running(1, timeout=120)
            cluster.clear()


def set_capabilities(bed: Bed, names: list[str]) -> None:
    """Set the agent's capabilities and delete its pods.

    Without the deletion, an agent that cannot start would block the rollout.
    """
    patch = json.dumps([{"op": "replace", "path": ADD, "value": names}])
    bed.kubectl(
        "-n", deploy.NAMESPACE, "patch", deploy.DAEMONSET, "--type=json", f"--patch={patch}"
    )
    deploy.pods_deleted(bed)


def failure(bed: Bed, cluster: Cluster) -> str:
    """Return why the agent ended or the sandbox could not be made, or "" if neither is reported."""
    for event in cluster.events(cluster.made[-1].partition("/")[2]):
        if (
            event["reason"] == "FailedCreatePodSandBox"
            and "not permitted" in event["message"].lower()
        ):
            return str(event["message"])
    for name in deploy.agent_pods(bed):
        log = bed.kubectl("-n", deploy.NAMESPACE, "logs", name, "--tail=20", "--ignore-errors")
        for line in log.splitlines():
            if "critical" in line or "Operation not permitted" in line:
                return line
    return ""
