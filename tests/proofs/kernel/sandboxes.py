"""Sandboxes on a node without a container runtime, made and attached by the exec agent.

The installed plugin is called with the installed configuration, as the CNI specification says. A
later CHECK or DEL gets the result of the ADD.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proofs.drift.observe import Target
from testbed.cni_runtime import Attachment, PluginFailed, Refused, Runtime

CONF, BIN = Path("/etc/cni/net.d/01-ovnlet.conflist"), "/opt/cni/bin"
CACHE = Path("/run/sandboxes")
TRY_AGAIN, TIMEOUT = 11, 120.0


def is_known(target: Target) -> bool:
    """Return whether the target's sandbox was made here."""
    return _kept(target.container_id).exists()


def attach(pod: dict[str, Any], again: Callable[[str], None] = lambda _: None) -> Target:
    """Make a sandbox for a pod and call ADD, again while it answers "try again".

    ``pod`` has the target's own words but those of the sandbox, and the pod's `uid`. ``again`` gets
    each such answer. Raise PluginFailed if ADD fails.
    """
    words = dict(pod)
    container, iface_id = str(words["container_id"]), str(words["iface_id"])
    subprocess.run(["ip", "netns", "add", container], check=True)
    name, _, namespace = iface_id.rpartition(".")
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"
    args += f";K8S_POD_UID={words.pop('uid')};K8S_POD_INFRA_CONTAINER_ID={container}"
    attachment = Attachment(container, f"/run/netns/{container}", args=args)
    _patiently(lambda: _runtime().add(attachment), again)
    CACHE.mkdir(parents=True, exist_ok=True)
    _kept(container).write_text(args)
    words |= {"netns": attachment.netns, "port": f"{container[:12]}_h", "ips": tuple(words["ips"])}
    return Target(**words)


def check(target: Target) -> str:
    """Call CHECK for the target. Return its error, or "" on success."""
    try:
        _runtime().check(_attachment(target))
    except (PluginFailed, Refused) as error:
        return str(error)
    return ""


def detach(target: Target) -> None:
    """Call DEL for the target, again while it answers "try again", and remove its sandbox.

    Raise PluginFailed if DEL fails.
    """
    attachment = _attachment(target)
    _patiently(lambda: _runtime().delete(attachment))
    _kept(target.container_id).unlink()
    subprocess.run(["ip", "netns", "del", target.container_id], check=True)


def _runtime() -> Runtime:
    return Runtime(json.loads(CONF.read_text()), BIN, CACHE / "results")


def _kept(container: str) -> Path:
    """Return the file with the CNI_ARGS of an attachment."""
    return CACHE / container


def _attachment(target: Target) -> Attachment:
    args = _kept(target.container_id).read_text()
    return Attachment(target.container_id, target.netns, target.ifname, args)


def _patiently(call: Callable[[], object], again: Callable[[str], None] = lambda _: None) -> None:
    """Call until the answer is not "try again", as kubelet does."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            call()
        except PluginFailed as error:
            if error.error.get("code") != TRY_AGAIN or time.monotonic() > end:
                raise
            again(str(error)[:300])
        else:
            return
