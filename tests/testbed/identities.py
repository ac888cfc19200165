"""The bed's identities for the API server: certificates by openssl, tokens and kubeconfigs."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from testbed import layout

ADMIN, MANAGER, SCHEDULER, PROXY = "admin", "controller-manager", "scheduler", "proxy"
NAMES = (
    f"IP:127.0.0.1,IP:::1,IP:{layout.CONTROL_IP},IP:{layout.API_SERVICE_IP},"
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc"
)
EXTENSIONS = f"subjectAltName={NAMES}\nextendedKeyUsage=serverAuth,clientAuth\n"
KEYS = """
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc "$@"; }
new -x509 -days 3650 -subj /CN=ovnlet-bed -keyout ca.key -out ca.crt \\
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
new -subj /O=system:masters/CN=kube-apiserver -keyout server.key -out server.csr
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 3650 \\
  -extfile extensions -out server.crt
openssl ecparam -name prime256v1 -genkey -noout -out sa.key
openssl ec -in sa.key -pubout -out sa.pub
"""


def kubelet_of(node: str) -> str:
    """Return the identity of a node's kubelet."""
    return f"kubelet-{node}"


@dataclass(frozen=True, slots=True)
class Identities:
    """Keys, tokens and kubeconfigs in one directory."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self.directory / "ca.crt"

    @property
    def tokens(self) -> Path:
        """The API server's token file."""
        return self.directory / "tokens.csv"

    def create(self, nodes: list[str]) -> None:
        """Create the directory, the certificates and a token for each identity."""
        self.directory.mkdir(parents=True)
        (self.directory / "extensions").write_text(EXTENSIONS)
        subprocess.run(["sh", "-euc", KEYS], cwd=self.directory, check=True, capture_output=True)
        users = {
            ADMIN: ("admin", "system:masters"),
            MANAGER: ("system:kube-controller-manager", ""),
            SCHEDULER: ("system:kube-scheduler", ""),
            PROXY: ("system:kube-proxy", ""),
        }
        users |= {kubelet_of(node): (f"system:node:{node}", "system:nodes") for node in nodes}
        rows = [
            f'{secrets.token_hex(16)},{user},{key},"{group}"'
            for key, (user, group) in users.items()
        ]
        self.tokens.write_text("\n".join(rows) + "\n")

    def token(self, identity: str) -> str:
        """Return an identity's token; KeyError if there is none."""
        for row in self.tokens.read_text().splitlines():
            token, _, name, _ = row.split(",")
            if name == identity:
                return token
        raise KeyError(identity)

    def kubeconfig(self, identity: str, server: str, name: str | None = None) -> Path:
        """Write a kubeconfig with which `identity` reaches `server`, and return its path.

        It is replaced as a whole: threads ask for the same one while kubectl reads it.
        """
        path = self.directory / f"{name or identity}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bed",
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": identity}}],
            "clusters": [
                {
                    "name": "bed",
                    "cluster": {"server": server, "certificate-authority": str(self.ca)},
                }
            ],
            "users": [{"name": identity, "user": {"token": self.token(identity)}}],
        }
        whole = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        whole.write_text(json.dumps(content, indent=1))
        return whole.replace(path)
