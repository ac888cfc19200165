"""CNI ADD and CHECK as a runtime calls them.

CHECK runs the installed plugin with the configuration and result that containerd cached. Where no
runtime is, `attach` takes its part: it makes the sandbox's namespace, calls ADD with the installed
configuration, and caches both as the CNI library does.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from proofs.drift.observe import Target

RESULTS = Path("/var/lib/cni/results")
BIN, CONF = Path("/opt/cni/bin"), Path("/etc/cni/net.d/01-ovnlet.conflist")
IFNAME = "eth0"
TRY_AGAIN, ADD_TIMEOUT = 11, 120.0


def check(target: Target) -> str:
    """Run CHECK for the pod's interface. Return its error message, or "" on success."""
    path = RESULTS / f"ovnlet-{target.container_id}-{target.ifname}"
    if not path.exists():
        return "the runtime has cached no result"
    cached = json.loads(path.read_text())
    environment = _environment(
        "CHECK", target.container_id, target.netns, cached.get("cniArgs") or []
    )
    request = _request(json.loads(base64.b64decode(cached["config"])))
    request["prevResult"] = cached["result"]
    done = _run(request, environment)
    return "" if done.returncode == 0 else (done.stdout or done.stderr).strip()


def attach(pod: dict[str, Any], *, retry: bool = True) -> Target:
    """Make a sandbox for a pod and call ADD, again while the answer is "try again later".

    ``pod`` has the target's own words but those of the sandbox, and the pod's `uid`. Raise
    RuntimeError with the plugin's answer if ADD fails.
    """
    words = dict(pod)
    uid, iface_id = words.pop("uid"), str(words["iface_id"])
    container = str(words["container_id"])
    netns = f"/run/netns/{container}"
    subprocess.run(["ip", "netns", "add", container], check=True)
    name, _, namespace = iface_id.rpartition(".")
    args = [
        ["IgnoreUnknown", "1"],
        ["K8S_POD_NAMESPACE", namespace],
        ["K8S_POD_NAME", name],
        ["K8S_POD_UID", uid],
        ["K8S_POD_INFRA_CONTAINER_ID", container],
    ]
    text = CONF.read_bytes()
    result = _add(json.loads(text), _environment("ADD", container, netns, args), retry)
    cached = {
        "kind": "cniCacheV1",
        "config": base64.b64encode(text).decode(),
        "cniArgs": args,
        "result": result,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"ovnlet-{container}-{IFNAME}").write_text(json.dumps(cached))
    words |= {"netns": netns, "port": f"{container[:12]}_h", "ips": tuple(words["ips"])}
    return Target(**words)


def detach(target: Target) -> None:
    """Call DEL for the pod's interface, and remove its sandbox. Raise RuntimeError if DEL fails."""
    path = RESULTS / f"ovnlet-{target.container_id}-{target.ifname}"
    cached = json.loads(path.read_text())
    environment = _environment("DEL", target.container_id, target.netns, cached["cniArgs"])
    done = _run(_request(json.loads(base64.b64decode(cached["config"]))), environment)
    if done.returncode:
        raise RuntimeError(f"DEL: {done.stdout or done.stderr}")
    subprocess.run(["ip", "netns", "del", target.container_id], check=True)
    path.unlink()


def _add(config: dict[str, Any], environment: dict[str, str], retry: bool) -> Any:
    end = time.monotonic() + ADD_TIMEOUT
    while True:
        done = _run(_request(config), environment)
        if done.returncode == 0:
            return json.loads(done.stdout)
        again = json.loads(done.stdout or "{}").get("code") == TRY_AGAIN
        if not (again and retry) or time.monotonic() > end:
            raise RuntimeError(f"ADD: {done.stdout or done.stderr}")


def _environment(command: str, container: str, netns: str, args: list[list[str]]) -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": IFNAME,
        "CNI_PATH": str(BIN),
        "CNI_ARGS": ";".join("=".join(pair) for pair in args),
    }


def _request(config: dict[str, Any]) -> dict[str, Any]:
    """Return the plugin's own part of a list of plugins."""
    own = {"cniVersion": config["cniVersion"], "name": config["name"]}
    return dict(config["plugins"][0]) | own


def _run(request: dict[str, Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / str(request["type"])],
        input=json.dumps(request),
        env=environment,
        capture_output=True,
        text=True,
        timeout=130,
        check=False,
    )
