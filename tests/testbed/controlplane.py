"""etcd, kube-apiserver, controller-manager and scheduler."""

from __future__ import annotations

import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from testbed import identities, kubernetes, layout
from testbed.identities import Identities
from testbed.service import Service
from testbed.space import Space

# What 1.20 needs to let a pod have two addresses; newer programs refuse to hear of it.
DUAL_STACK = "--feature-gates=IPv6DualStack=true"
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
    """Where one API server listens, and how to start it and those that only speak to it."""

    space: Space
    ids: Identities
    address: str
    port: int
    etcd_port: int

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def audit_log(self) -> Path:
        return self.space.log("audit.log")

    def start_etcd(self) -> Service:
        """Peers would come over a unix socket; the URL it gives them must look like TCP, and is never used."""
        nobody = "http://127.0.0.1:2380"
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
                    f"--initial-advertise-peer-urls={nobody}",
                ),
                f"--initial-cluster=default={nobody}",
            ],
        )

    def start_apiserver(self, *, service_accounts: bool) -> Service:
        """`service_accounts`: whether somebody makes them; pods are admitted without where nobody does."""
        keys = self.ids.directory
        policy = keys / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT))
        issuer = "https://kubernetes.default.svc"
        listen = (f"--bind-address={self.address}", f"--secure-port={self.port}")
        accounts = (
            f"--service-account-key-file={keys}/sa.pub",
            f"--service-account-signing-key-file={keys}/sa.key",
        )
        return self.space.spawn(
            "kube-apiserver",
            [
                kubernetes.assets() / "kube-apiserver",
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
                *(f"--service-cluster-ip-range={layout.SERVICES}", DUAL_STACK),
                *(f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"),
            ],
        )

    def answers(self, url: str) -> bool:
        """Whether the API server says at `url` that it is ready."""
        try:
            context = ssl.create_default_context(cafile=str(self.ids.ca))
            with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=2) as answer:  # noqa: S310
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def start_manager(self) -> Service:
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
        return self._client("kube-scheduler", identities.SCHEDULER)

    def _client(self, program: str, identity: str, *flags: str) -> Service:
        config = self.ids.kubeconfig(identity, self.url)
        common = (
            f"--kubeconfig={config}",
            "--leader-elect=false",
            "--port=0",
            "--secure-port=0",
            DUAL_STACK,
        )
        return self.space.spawn(program, [kubernetes.assets() / program, *common, *flags])
