"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""

from __future__ import annotations

import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from testbed import identities, kubernetes, layout, versions
from testbed.identities import Identities
from testbed.service import Service
from testbed.space import Space

AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Request",
            "resources": [{"group": "", "resources": ["pods", "pods/status", "events", "nodes"]}],
        },
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where one API server listens, and how it and its clients of the control plane are started."""

    space: Space
    ids: Identities
    address: str
    port: int
    etcd_port: int

    @property
    def etcd_url(self) -> str:
        """etcd's URL inside the space."""
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def url(self) -> str:
        """The API server's URL inside the bed."""
        return f"https://{self.address}:{self.port}"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log."""
        return self.space.log("audit.log")

    def start_etcd(self) -> Service:
        """Start etcd, which listens for peers on a unix socket.

        It demands a peer URL that looks like TCP; nothing ever connects to it.
        """
        unused = "http://127.0.0.1:2380"
        return self.space.spawn(
            "etcd",
            [
                "etcd",
                *(
                    f"--data-dir={self.space.directory}/etcd",
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                ),
                *(
                    f"--listen-client-urls={self.etcd_url}",
                    f"--advertise-client-urls={self.etcd_url}",
                ),
                *(
                    f"--listen-peer-urls=unix://{self.space.directory}/etcd.peer",
                    f"--initial-advertise-peer-urls={unused}",
                ),
                f"--initial-cluster=default={unused}",
            ],
        )

    def start_apiserver(self, *, service_accounts: bool) -> Service:
        """Start the API server; with ``service_accounts`` it demands a pod's service account.

        The controller manager makes service accounts.
        """
        keys = self.ids.directory
        policy = keys / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT))
        issuer = "https://kubernetes.default.svc"
        listen = (f"--bind-address={self.address}", f"--secure-port={self.port}")
        accounts = (
            f"--service-account-key-file={keys}/sa.pub",
            f"--service-account-signing-key-file={keys}/sa.key",
        )
        program = kubernetes.assets() / "kube-apiserver"
        return self.space.spawn(
            "kube-apiserver",
            [
                program,
                *(f"--etcd-servers={self.etcd_url}", "--allow-privileged", "--profiling=false"),
                *(*listen, f"--advertise-address={layout.CONTROL_IP}"),
                *(
                    f"--tls-cert-file={keys}/server.crt",
                    f"--tls-private-key-file={keys}/server.key",
                ),
                *(
                    f"--kubelet-client-certificate={keys}/server.crt",
                    f"--kubelet-client-key={keys}/server.key",
                ),
                "--kubelet-preferred-address-types=InternalIP",
                *(f"--client-ca-file={self.ids.ca}", f"--token-auth-file={self.ids.tokens}"),
                *(*accounts, f"--service-account-issuer={issuer}", f"--api-audiences={issuer}"),
                *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
                *([] if service_accounts else ["--disable-admission-plugins=ServiceAccount"]),
                f"--service-cluster-ip-range={layout.SERVICES}",
                *versions.gates(versions.minor(program)),
                *(f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"),
            ],
        )

    def answers(self, url: str) -> bool:
        """Return whether the API server answers at `url` that it is ready."""
        try:
            context = ssl.create_default_context(cafile=str(self.ids.ca))
            with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=2) as answer:  # noqa: S310
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def start_manager(self) -> Service:
        """Start the controller manager."""
        return self._client(
            "kube-controller-manager",
            identities.MANAGER,
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.ids.directory}/sa.key",
            f"--root-ca-file={self.ids.ca}",
            f"--cluster-cidr={layout.PODS}",
            "--allocate-node-cidrs=false",
            f"--service-cluster-ip-range={layout.SERVICES}",
            "--node-monitor-period=1s",
        )

    def start_scheduler(self) -> Service:
        """Start the scheduler."""
        return self._client("kube-scheduler", identities.SCHEDULER)

    def _client(self, program: str, identity: str, *flags: str) -> Service:
        config = self.ids.kubeconfig(identity, self.url)
        path = kubernetes.assets() / program
        version = versions.minor(path)
        common = (
            *(f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0"),
            *(*versions.insecure_port(version), *versions.gates(version)),
        )
        return self.space.spawn(program, [path, *common, *flags])
