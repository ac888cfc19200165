"""The bed of a run: an API server, three members of OVN's databases, and replicas to fight over."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.report import BUILD
from testbed import layout, raft
from testbed.bed import Bed
from testbed.service import wait_for

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
EVIDENCE = BUILD / "evidence/raft"
SYSTEM = "ovnlet-system"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/ovnlet-controller"
SUBNETS = "/apis/kubeovn.io/v1/subnets"
PARTS = {layout.ETCD, layout.APISERVER, layout.RAFT}


@dataclass
class Stage:
    """The bed with the replicas that run, by name."""

    bed: Bed
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Apply the manifests that a controller needs."""
        bed = self.bed
        bed.kubectl("apply", f"--filename={MANIFESTS / 'base/namespace.yaml'}")
        for file in ("subnet.yaml", "ippool.yaml", "rbac.yaml"):
            where = MANIFESTS / "standalone" / file
            bed.kubectl("apply", f"--filename={where}", f"--namespace={SYSTEM}")
        condition = "--output=jsonpath={.status.conditions[*].type}"
        asked = ("get", "crd", "subnets.kubeovn.io", condition)
        wait_for(lambda: "Established" in bed.kubectl(*asked), "the Subnet kind")
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")

    def subnet(self) -> None:
        """Create the default Subnet and wait until it is ready."""
        body = {
            "apiVersion": "kubeovn.io/v1",
            "kind": "Subnet",
            "metadata": {"name": "ovn-default"},
            "spec": {"cidrBlock": layout.PODS, "default": True},
        }
        self.bed.api.create(SUBNETS, body)

        def ready() -> bool:
            status = self.bed.api.get(f"{SUBNETS}/ovn-default").get("status", {})
            return {("Ready", "True")} <= {
                (each["type"], each["status"]) for each in status.get("conditions", [])
            }

        wait_for(ready, "the Subnet", every=0.1)

    def start(self, name: str, lease_seconds: float, program: str = "") -> None:
        """Start a replica, or with ``program`` other Python code with its arguments."""
        given = {
            "identity": name,
            "kubeconfig": self._kubeconfig(),
            "ovn-nb": raft.remotes(self.bed),
            "listen": "127.0.0.1:0",
            "lease-seconds": lease_seconds,
        }
        words = [sys.executable, *(("-c", program) if program else ("-m", "ovnlet"))]
        words += ["controller", *(f"--{key}={value}" for key, value in given.items())]
        with (self.bed.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a replica a signal."""
        self.running[name].send_signal(number)

    def end(self, name: str) -> None:
        """Kill a replica."""
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        """End all replicas, and keep what they logged."""
        for name in tuple(self.running):
            self.end(name)
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        for log in self.bed.directory.glob("*.log"):
            shutil.copy(log, EVIDENCE)

    def lease(self) -> dict[str, Any]:
        """Return what the Lease says."""
        return dict(self.bed.api.get(LEASE)["spec"])

    def leads(self, name: str, within: float = 60) -> None:
        """Wait until this replica has the Lease."""
        wait_for(lambda: self.lease()["holderIdentity"] == name, f"{name} to lead", within, 0.1)

    def _kubeconfig(self) -> Path:
        path = self.bed.directory / "replicas.kubeconfig"
        if not path.exists():
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            account = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/ovnlet-controller/token"
            raw = ("create", f"--raw={account}", "--filename=-")
            answer = self.bed.kubectl(*raw, stdin=json.dumps(request))
            path.write_text(_kubeconfig(self.bed, json.loads(answer)["status"]["token"]))
        return path


def _kubeconfig(bed: Bed, token: str) -> str:
    server = {"server": bed.api_url, "certificate-authority": str(bed.ids.ca)}
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bed",
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "controller"}}],
        "clusters": [{"name": "bed", "cluster": server}],
        "users": [{"name": "controller", "user": {"token": token}}],
    }
    return json.dumps(body)
