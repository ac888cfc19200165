"""CNI CHECK as a runtime calls it.

It runs the installed plugin with the configuration and result that containerd cached.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from proofs.drift.observe import Target

RESULTS = Path("/var/lib/cni/results")
BIN = Path("/opt/cni/bin")


def check(target: Target) -> str:
    """Run CHECK for the pod's interface. Return its error message, or "" on success."""
    path = RESULTS / f"ovnlet-{target.container_id}-{target.ifname}"
    if not path.exists():
        return "the runtime has cached no result"
    cached = json.loads(path.read_text())
    environment = {
        "CNI_COMMAND": "CHECK",
        "CNI_CONTAINERID": target.container_id,
        "CNI_NETNS": target.netns,
        "CNI_IFNAME": target.ifname,
        "CNI_PATH": str(BIN),
        "CNI_ARGS": ";".join("=".join(pair) for pair in cached.get("cniArgs") or []),
    }
    config = json.loads(base64.b64decode(cached["config"]))
    request = config["plugins"][0] | {"cniVersion": config["cniVersion"], "name": config["name"]}
    request["prevResult"] = cached["result"]
    done = subprocess.run(
        [BIN / request["type"]],
        input=json.dumps(request),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else (done.stdout or done.stderr).strip()
