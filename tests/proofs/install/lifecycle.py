"""From an empty node to one that runs pods, through an update, and back to the empty node."""

import json
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from proofs.install.report import Report, Step
from testbed import deploy, images, rights
from testbed.bed import Bed
from testbed.inventory import Inventory, compare, inventory
from testbed.service import BedError, wait_for
from testbed.workloads import HOST_PORT, PORT, SERVE, Cluster, deployment, pod, web

REPLICAS = 10
SOCKET = "/run/ovnlet/cni.sock"
PING_MARGIN = 1.0
# What Kubernetes requires of a node before anything is installed. The agent sets it too, and never
# undoes it.
PREPARED = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
# The plugin portmap, which a conflist chains for hostPorts, removes its rules of pods but never its
# own empty chains.
PORTMAP = "CNI-HOSTPORT-"
DROP_IN = "/etc/systemd/system/ovs-vswitchd.service.d/ovnlet.conf"
# Connects every 20 ms until SIGINT, and then prints the longest time without an agent in seconds.
SOCKET_PROBE = f"""
import signal, socket, time
worst, since, going = 0.0, time.monotonic(), True
def end(*_):
    global going
    going = False
signal.signal(signal.SIGINT, end)
while going:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect("{SOCKET}")
            since = time.monotonic()
        except OSError:
            worst = max(worst, time.monotonic() - since)
    time.sleep(0.02)
print(worst)
"""


def run(bed: Bed) -> None:
    """Run all steps and write build/install.json. Raise at the first step that fails."""
    report, cluster = Report("install"), Cluster(bed)
    with report.step("inventory of the empty node") as step:
        before = prepare_node(bed)
        step.record(*(f"{name}: {len(section)}" for name, section in before.items()))
    with report.step("kubectl apply -k manifests/base, node Ready") as step:
        assert not deploy.all_ready(bed), "a node without a CNI configuration is not ready"
        reference = deploy.apply(bed)
        step.record(reference, *deploy.agent_pods(bed), *footprint(bed))
    with report.step(f"a Deployment of {REPLICAS} Ready by kubelet's HTTP probe") as step:
        cluster.apply(probed_deployment("ten"))
        bed.kubectl("rollout", "status", "deployment/ten", "--timeout=120s", timeout=130)
        step.record(
            bed.kubectl("get", "deployment/ten", "--no-headers").strip(), *node_interface(bed)
        )
    with report.step("a hostPort answers from outside the node") as step:
        cluster.apply(web("web"))
        bed.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s", timeout=70)
        step.record(*host_port(bed))
    with report.step("image changed, rollout under a 20 ms ping") as step:
        update(bed, cluster, reference, step)
    with report.step("ovnlet doctor finds no fault") as step:
        step.record(*doctor(bed))
    with report.step("a drop-in of Open vSwitch's unit, as the component underlay has it") as step:
        step.record(plant_drop_in(bed))
    with report.step("kubectl apply -k manifests/uninstall while pods run: it waits") as step:
        bed.kubectl("apply", "-k", str(deploy.overlay(bed, reference, of="uninstall")))
        step.record(wait_for(lambda: uninstall_wait(bed), "a wait", timeout=60, every=0.5))
    with report.step("the agent asked for nothing that it is not granted") as step:
        step.record(*used_rights(bed))
    with report.step("pods deleted: everything is removed") as step:
        cluster.clear()
        step.record(*wait_uninstalled(bed))
    with report.step("kubectl delete -k manifests/uninstall") as step:
        delete_manifests(bed, reference)
        step.record(bed.kubectl("get", "namespaces", "-o", "name").replace("\n", " "))
    with report.step("inventory of the node identical") as step:
        verify_identical(bed, before, step)


def plant_drop_in(bed: Bed) -> str:
    """Write what an agent that moves interfaces writes, and return its path: it must go, too."""
    code = "from ovnlet.drivers.ovs.boot_unit import *; BootUnit(DIRECTORY).write()"
    env = {"PYTHONPATH": f"{deploy.PROJECT}/operator:{deploy.PROJECT}/cni"}
    bed.node().run([sys.executable, "-c", code], env=env)
    assert bed.node().path(DROP_IN).exists()
    return DROP_IN


def wait_uninstalled(bed: Bed) -> list[str]:
    """Wait until the uninstallation is rolled out, and return its log."""
    deploy.rolled_out(bed, deploy.DAEMONSET)
    words = ("-n", deploy.NAMESPACE, "logs", deploy.DAEMONSET, "-c", "uninstall")
    return bed.kubectl(*words).splitlines()


def delete_manifests(bed: Bed, reference: str) -> None:
    """Delete manifests/uninstall for this image from the cluster."""
    manifests = str(deploy.overlay(bed, reference, of="uninstall"))
    bed.kubectl("delete", "-k", manifests, "--timeout=90s", timeout=100)


def footprint(bed: Bed) -> list[str]:
    """Return the image's size, and CPU and memory of an agent that has just started.

    Imports are most of its CPU.
    """
    _, archive = images.agent_image(deploy.PROJECT)
    (agent,) = deploy.agent_processes(bed.node())
    stat = bed.node().path(f"/proc/{agent}/stat").read_text().rpartition(") ")[2].split()
    cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    resident = int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    size = f"image {archive.stat().st_size / 1e6:.1f} MB packed"
    return [size, f"the agent until Ready: {cpu:.2f} s of CPU, {resident:.0f} MiB resident"]


def probed_deployment(name: str) -> dict[str, Any]:
    """Return web servers with an HTTP readiness probe.

    kubelet asks them from the node, so Ready needs the node's own interface.
    """
    body = deployment(name, REPLICAS)
    probe = {
        "httpGet": {"port": PORT, "path": "/index.html"},
        "periodSeconds": 1,
        "timeoutSeconds": 3,
    }
    body["spec"]["template"]["spec"]["containers"][0] |= {
        "command": ["sh", "-c", SERVE],
        "readinessProbe": probe,
    }
    return body


def node_interface(bed: Bed) -> list[str]:
    return [
        " ".join(line.split())
        for line in bed.node().sh("ip -br address show dev ovn0").splitlines()
    ]


def host_port(bed: Bed) -> list[str]:
    """Return the answer of the hostPort.

    The client is in the control space, a host beside the node.
    """
    url = f"http://{bed.node().ip}:{HOST_PORT}/index.html"
    outside = bed.control_plane.space.run(["busybox", "wget", "-q", "-T", "5", "-O", "-", url])
    assert outside == "well\n", outside
    return [f"{url}: {outside.strip()}"]


def observe(bed: Bed) -> Inventory:
    """Return the node's inventory without what others change by themselves.

    That is OVN's conntrack zones in br-int's external_ids, containerd's cache, and portmap's
    chains.
    """
    seen = inventory(bed.node())
    kind, pairs = seen["ovsdb"]["Bridge br-int"]["external_ids"]
    seen["ovsdb"]["Bridge br-int"]["external_ids"] = [
        kind,
        [p for p in pairs if not p[0].startswith("ct-zone-")],
    ]
    del seen["files"]["/var/lib/cni"]  # containerd's cache of results, made at the first pod
    seen["files"].pop("/var/lib/cni/results", None)
    seen["firewall"] = {
        rule: facts for rule, facts in seen["firewall"].items() if PORTMAP not in rule
    }
    return seen


def prepare_node(bed: Bed) -> Inventory:
    """Set what Kubernetes requires of a node, and return its inventory."""
    bed.node().run(["sysctl", "-qw", *PREPARED])
    return wait_settled(bed)


def verify_identical(bed: Bed, before: Inventory, step: Step) -> None:
    """Wait until the node's inventory is as before, and record the differences.

    Raise BedError after 60 s.

    OVS and OVN remove what they keep of a port a moment after it.
    """
    difference: list[str] = []

    def same() -> bool:
        difference[:] = compare(before, observe(bed))
        return not difference

    try:
        wait_for(same, "the node's inventory to be as before", timeout=60, every=1)
    finally:
        step.record(*difference)


def wait_settled(bed: Bed) -> Inventory:
    """Return the inventory once kubelet and kube-proxy have written their rules."""

    def twice() -> Inventory | None:
        first = observe(bed)
        time.sleep(2)
        second = observe(bed)
        return second if first == second else None

    return wait_for(twice, "a node at rest", timeout=90)


def update(bed: Bed, cluster: Cluster, reference: str, step: Step) -> None:
    """Change the agent's image while pods ping, a pod starts and a probe connects to the CNI
    socket.
    """
    running = cluster.running(there := len(cluster.pods()))
    began = time.monotonic()
    cluster.apply(pod("usual"))
    usual_running = cluster.running(there + 1)
    usual = time.monotonic() - began
    pings = [running[0].ping(each.ips[0]) for each in usual_running[1:4]]
    watch = bed.node().popen(["python3", "-c", SOCKET_PROBE])
    other = f"{reference.rpartition(':')[0]}:again"
    ctr = ["ctr", "--address=/run/containerd/containerd.sock", "--namespace=k8s.io"]
    bed.node().run([*ctr, "images", "tag", reference, other])
    bed.kubectl("-n", deploy.NAMESPACE, "set", "image", deploy.DAEMONSET, f"agent={other}")
    seconds: list[float] = []
    starter = threading.Thread(target=lambda: seconds.append(start_pod(cluster, there + 2)))
    starter.start()
    deploy.rolled_out(bed, deploy.DAEMONSET)
    starter.join(timeout=120)
    counts = [ping.stop() for ping in pings]
    watch.send_signal(2)
    downtime = float(watch.communicate(timeout=10)[0])
    lost = sum(sent - received for sent, received in counts)
    step.record(
        f"{lost} of {sum(sent for sent, _ in counts)} packets lost",
        f"no agent for {downtime:.2f} s",
    )
    step.record(f"a pod created meanwhile ran after {seconds[0]:.2f} s, otherwise {usual:.2f} s")
    assert lost == 0
    assert seconds[0] <= usual + downtime + PING_MARGIN


def start_pod(cluster: Cluster, count: int) -> float:
    began = time.monotonic()
    cluster.apply(pod("meanwhile"))
    cluster.running(count, timeout=100)
    return time.monotonic() - began


def doctor(bed: Bed) -> list[str]:
    """Return the doctor's findings. kubectl exec fails if the doctor finds a fault."""
    words = [
        "-n",
        deploy.NAMESPACE,
        "exec",
        deploy.DAEMONSET,
        "--",
        "ovnlet",
        "doctor",
        "-o",
        "json",
    ]
    findings = json.loads(bed.kubectl(*words))
    return [f"{each['level']} {each['what']}" for each in findings]


def used_rights(bed: Bed) -> list[str]:
    """Return the rights that this run used.

    It has no Subnets; `--alone` shows that the remaining rights are used.
    """
    found = rights.look(bed, rights.AGENT)
    rights.record("install", found)
    assert not found.excess, found.excess
    return [f"{right}: {many}" for right, many in sorted(found.used.items())]


def uninstall_wait(bed: Bed) -> str:
    """Return what the uninstall container logs while pods exist, or ""."""
    for name in deploy.agent_pods(bed):
        words = ["-n", deploy.NAMESPACE, "logs", name, "--container=uninstall", "--ignore-errors"]
        with suppress(BedError):  # a pod of the agent that is ending has no such container
            log = bed.kubectl(*words)
            if "waiting: pods are there" in log:
                return log.strip()
    return ""
