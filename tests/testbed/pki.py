"""Who may speak to OVN's databases: a CA of their own, which signs the servers, the chassis and the controller."""

from __future__ import annotations

import subprocess
from pathlib import Path

SERVER, CONTROLLER = "central", "controller"
ISSUE = """
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc "$@"; }
new -x509 -days 3650 -subj /CN=ovn-ca -keyout ca.key -out ca.crt \\
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
for name; do
  new -subj /CN=$name -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -days 3650 -out $name.crt
done
"""


def directory(bed: Path) -> Path:
    return bed / "ovn-pki"


def issue(bed: Path, chassis: list[str]) -> None:
    """Keys and certificates of the servers, of the controller and of each chassis."""
    home = directory(bed)
    home.mkdir()
    subprocess.run(
        ["sh", "-euc", ISSUE, "issue", SERVER, CONTROLLER, *chassis],
        cwd=home,
        check=True,
        capture_output=True,
    )


def flags(bed: Path, name: str) -> list[str]:
    """For every program of OVS and OVN: who it is, and whom it trusts."""
    home = directory(bed)
    return [
        f"--private-key={home}/{name}.key",
        f"--certificate={home}/{name}.crt",
        f"--ca-cert={home}/ca.crt",
    ]
