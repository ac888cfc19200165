"""A CA for OVN's databases, with certificates for the servers, the chassis and the controller."""

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
    """Return the directory of the keys, in the bed's."""
    return bed / "ovn-pki"


def issue(bed: Path, chassis: list[str]) -> None:
    """Create keys and certificates for the servers, the controller and each chassis."""
    home = directory(bed)
    home.mkdir()
    subprocess.run(
        ["sh", "-euc", ISSUE, "issue", SERVER, CONTROLLER, *chassis],
        cwd=home,
        check=True,
        capture_output=True,
    )


def flags(bed: Path, name: str) -> list[str]:
    """Return the TLS flags that every program of OVS and OVN takes: its key, certificate and CA."""
    home = directory(bed)
    return [
        f"--private-key={home}/{name}.key",
        f"--certificate={home}/{name}.crt",
        f"--ca-cert={home}/ca.crt",
    ]
