"""One observation of the node as a whole: the CNI files, and what makes it a chassis of OVN.

The files are read, and OVSDB is asked by `ovs-vsctl`: nothing of ovnlet takes part.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from proofs.drift import forwarding, gateway_facts, openflow
from proofs.drift.observe import Facts, Target

# The target that stands for the node itself; no pod is named like it.
NODE = Target("(node)", "", "", "", "", ("", ""), "")
CONF, BIN = Path("/etc/cni/net.d"), Path("/opt/cni/bin")
CONFLIST, PLUGIN = CONF / "01-ovnlet.conflist", BIN / "ovnlet"
BRIDGE = "br-int"
_KEYS = ("system-id", "hostname", "ovn-")
# The agent writes it in other words to have ovn-controller connect to a bridge that was made again.
_REWRITTEN = "ovn-bridge-remote"
_ASK = (
    "ovs-vsctl --timeout=2 --format=json"
    " --columns=external_ids list Open_vSwitch ."
    f" -- --columns=datapath_type,fail_mode find Bridge name={BRIDGE}"
).split()


def observe_node() -> Facts:
    """Return every fact of the node that is compared."""
    own = (*_files(), *_chassis(), *_flows(), *gateway_facts.observe())
    return dict(own)


def _flows() -> Iterator[tuple[str, str]]:
    for table in forwarding.TABLES:
        yield f"table {table}", "has flows" if openflow.has_flows(table) else "is empty"


def _files() -> Iterator[tuple[str, str]]:
    """Yield the plugin and whatever a runtime would take for a configuration."""
    try:
        configurations = sorted(path for path in CONF.iterdir() if not path.name.startswith("."))
    except OSError:
        configurations = []
    for path in (*configurations, PLUGIN):
        try:
            digest, mode = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode
        except FileNotFoundError:
            continue
        yield f"file {path}", f"{mode & 0o7777:o} {digest[:16]}"


def _chassis() -> Iterator[tuple[str, str]]:
    asked = subprocess.run(_ASK, capture_output=True, text=True, check=False)
    if asked.returncode:
        yield "ovs-vsctl", asked.stderr.strip()[-200:]
        return
    root, bridges = (json.loads(line)["data"] for line in asked.stdout.splitlines())
    for name, value in root[0][0][1]:
        if name.startswith(_KEYS) and name != _REWRITTEN:
            yield f"chassis {name}", value
    for datapath_type, fail_mode in bridges:
        yield f"{BRIDGE} datapath_type", datapath_type
        yield f"{BRIDGE} fail_mode", str(fail_mode)
