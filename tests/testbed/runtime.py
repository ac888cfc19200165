"""containerd, kubelet and kube-proxy of one node."""

from __future__ import annotations

import json
from pathlib import Path

from testbed import identities, images, kubernetes, layout, versions
from testbed.controlplane import ControlPlane
from testbed.service import Service
from testbed.space import Space

SOCKET = "/run/containerd/containerd.sock"
ENDPOINT = f"unix://{SOCKET}"
CONTAINERD = f"""
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  # Without CAP_SYS_RESOURCE, as in many virtual machines and containers, it may not lower a score.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "/etc/cni/net.d"
  bin_dir = "/opt/cni/bin"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""
REFERENCE_PLUGINS = Path("/usr/lib/cni")
PLUGINS = ("bridge", "host-local", "loopback", "portmap")
MANIFESTS = "/etc/kubernetes/manifests"


def kubelet_config(ca: Path, version: int) -> dict[str, object]:
    """Return kubelet's configuration: it reports quickly, and shares a larger machine."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(ca)}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [layout.DNS_SERVICE_IP],
        "clusterDomain": layout.CLUSTER_DOMAIN,
        "enforceNodeAllocatable": [],
        # 0% is never: a soak fills the disk of the node's OVSDB, where pods' logs are too.
        "evictionHard": {
            "memory.available": "64Mi",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
        },
        "failSwapOn": False,
        "fileCheckFrequency": "1s",
        "imageGCHighThresholdPercent": 100,
        "nodeStatusReportFrequency": "5m",
        "nodeStatusUpdateFrequency": "1s",
        "resolvConf": "/etc/kubernetes/resolv.conf",
        "staticPodPath": MANIFESTS,
        "volumePluginDir": "/var/lib/kubelet/plugins/volume",
        **versions.kubelet_keys(version, ENDPOINT),
    }


def start_containerd(space: Space) -> Service:
    """Start the runtime, with the reference plugins where a distribution installs them."""
    config = space.directory / "containerd.toml"
    config.write_text(CONTAINERD)
    programs = " ".join(str(REFERENCE_PLUGINS / plugin) for plugin in PLUGINS)
    space.sh(f"mkdir -p /opt/cni/bin /etc/cni/net.d; cp {programs} /opt/cni/bin")
    service = space.spawn("containerd", ["containerd", f"--config={config}", "--log-level=info"])
    asked = f"[ -S {SOCKET} ] && ctr --address={SOCKET} --connect-timeout=1s version"
    service.wait_ready(lambda: space.result(["sh", "-c", asked]).returncode == 0)
    return service


def import_image(space: Space, archive: Path) -> None:
    """Import an image from an archive."""
    space.run(
        ["ctr", f"--address={SOCKET}", "--namespace=k8s.io", "images", "import", archive],
        timeout=300,
    )


def start_kubelet(space: Space, plane: ControlPlane, addresses: str) -> Service:
    """Start kubelet with the node's addresses."""
    config = space.directory / "kubelet.json"
    program = kubernetes.assets() / "kubelet"
    version = versions.minor(program)
    config.write_text(json.dumps(kubelet_config(plane.ids.ca, version), indent=1))
    access = plane.ids.kubeconfig(identities.kubelet_of(space.role), plane.url)
    space.sh(f"mkdir -p {MANIFESTS}; : >/etc/kubernetes/resolv.conf")
    return space.spawn(
        "kubelet",
        [
            program,
            *(
                f"--config={config}",
                f"--kubeconfig={access}",
                f"--hostname-override={space.role}",
                f"--node-ip={addresses}",
            ),
            *versions.kubelet_flags(version, ENDPOINT, images.PAUSE),
        ],
        # Without this it waits ten seconds for the metadata server of a cloud.
        env={"AWS_EC2_METADATA_DISABLED": "true"},
    )


def start_proxy(space: Space, plane: ControlPlane, mode: str = "iptables") -> Service:
    """Start kube-proxy in a mode.

    The limits of connection tracking are the machine's: with zeros kube-proxy does not change them.
    """
    access = plane.ids.kubeconfig(identities.PROXY, plane.url)
    program = kubernetes.assets() / "kube-proxy"
    untouched = (f"--conntrack-{limit}=0" for limit in ("max-per-core", "min"))
    timeouts = (f"--conntrack-tcp-timeout-{kind}=0s" for kind in ("established", "close-wait"))
    return space.spawn(
        "kube-proxy",
        [
            program,
            *(
                f"--kubeconfig={access}",
                f"--hostname-override={space.role}",
                f"--proxy-mode={mode}",
            ),
            *(f"--cluster-cidr={layout.PODS}", "--bind-address=0.0.0.0"),
            *versions.gates(versions.minor(program)),
            *(*untouched, *timeouts),
        ],
    )
