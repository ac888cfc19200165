"""A person with kubectl: the rights of manifests/tools, and `kubectl ovnlet` as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kit import measured
from proofs.tools.report import Ended, Report
from testbed import deploy
from testbed.bed import Bed
from testbed.workloads import Running

ACCOUNT = "ovnlet-operator"
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Operator:
    """Runs `kubectl ovnlet` as an account that has the rights of manifests/tools and no others."""

    bed: Bed
    kubeconfig: Path

    @classmethod
    def of(cls, bed: Bed) -> Operator:
        """Make the account, bind the roles to it, and write its kubeconfig."""
        bed.kubectl("create", "namespace", deploy.NAMESPACE)
        bed.kubectl("-n", deploy.NAMESPACE, "create", "serviceaccount", ACCOUNT)
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": deploy.NAMESPACE}
        patch = json.dumps([{"op": "add", "path": "/subjects/-", "value": subject}])
        home = bed.directory / "manifests" / "rights"
        home.mkdir(parents=True)
        for path in (deploy.PROJECT / "manifests/tools").iterdir():
            (home / "tools").mkdir(exist_ok=True)
            (home / "tools" / path.name).write_bytes(path.read_bytes())
        kinds = ("ClusterRoleBinding", "RoleBinding")
        patches = [{"target": {"kind": kind}, "patch": patch} for kind in kinds]
        body = {"resources": ["tools"], "patches": patches}
        (home / "kustomization.yaml").write_text(json.dumps(body))
        bed.kubectl("apply", "-k", str(home))
        _leave_out_validator(bed)
        return cls(bed, _kubeconfig(bed))

    def __call__(self, *words: str, timeout: float = 120) -> Ended:
        """Run `kubectl ovnlet` with these words, its output a pipe, and return how it ended."""
        began = time.monotonic()
        process = self.popen(*words)
        stdout, stderr = process.communicate(timeout=timeout)
        seconds = round(time.monotonic() - began, 2)
        return Ended(process.returncode, stdout, stderr.decode(), seconds)

    def shell(self, line: str) -> Ended:
        """Type a line into a shell, in a directory that is removed afterwards."""
        script = f"cd $(mktemp -d); trap 'rm -r $PWD' EXIT; {line}"
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        seconds = round(time.monotonic() - began, 2)
        return Ended(done.returncode, done.stdout, done.stderr.decode(), seconds)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(self.bed.directory),
            "PYTHONPATH": str(_packages(self.bed)),
            "KUBECONFIG": str(self.kubeconfig),
            **measured.environment(),
        }

    def popen(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `kubectl ovnlet`, as the plugin that kubectl finds on PATH."""
        return subprocess.Popen(
            ["kubectl", "ovnlet", *words],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def _packages(bed: Bed) -> Path:
    return bed.directory / "packages"


def _leave_out_validator(bed: Bed) -> None:
    """Hide a package that the tests need, and a machine with `ovnlet[cli]` lacks.

    The Kubernetes client imports it where it is, and with it a grammar: two thirds of a second.
    """
    _packages(bed).mkdir()
    (_packages(bed) / "kubernetes_validate.py").write_text("raise ImportError\n")


def _kubeconfig(bed: Bed) -> Path:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    url = f"/api/v1/namespaces/{deploy.NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
    answer = bed.kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(request))
    config = json.loads(bed.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": json.loads(answer)["status"]["token"]}}]
    path = bed.directory / "operator.kubeconfig"
    path.write_text(json.dumps(config))
    return path


# What rows of a report are about: it is given the bed's pods.
Part = Callable[[Operator, Report, list[Running]], None]
