"""What the faults of a soak need of its bed: small disks, a clock of its own, a gate.

`prepare` changes a bed that has no pods yet, and `Stage` is such a bed with its pods.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proofs.drift.environment import NS, Environment
from testbed import deploy, layout
from testbed.bed import Bed
from testbed.gate import Gate
from testbed.space import Space

PORT = 7443
RUN, DATABASE = "/run/ovnlet", "/etc/openvswitch"
SIZES = {RUN: "4m", DATABASE: "64m"}
CLOCK = "/run/soak-clock"
UNTOUCHED = 6  # pods that no fault hits
SWITCH = ("ovn-controller", "ovs-vswitchd", "ovsdb-server")  # in the order in which they stop
CENTRAL = ("ovn-northd", "ovn-nb", "ovn-sb")


def library() -> Path:
    """Return libfaketime; SystemExit if it is not installed."""
    for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"):
        return path
    raise SystemExit("libfaketime is not installed: python -m testbed.packages")


def clock() -> dict[str, str]:
    """Return the environment of a process that has the bed's clock.

    Only the time of day jumps: the kernel's monotonic clock and the times of files do not.
    """
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": f"{CLOCK}/offset",
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
        "NO_FAKE_STAT": "1",
    }


def prepare(bed: Bed) -> None:
    """Give the bed small disks, the clock and the gate, and send the agent to them."""
    for space in (bed.node(), bed.space(layout.CONTROL)):
        space.sh(f"mkdir -p {CLOCK}")
        set_clock(space, 0)
    _move_to_small_disks(bed.node())
    for name in CENTRAL:
        bed.space(layout.CONTROL).restart(name, env=clock())
    Gate.start(bed, PORT, "pass")
    bed.kubectl(*NS, "patch", deploy.DAEMONSET, "--type=strategic", "-p", json.dumps(_patch()))
    deploy.rolled_out(bed, deploy.DAEMONSET)


def set_clock(space: Space, seconds: int) -> None:
    """Set the clock of the space's processes this far from the machine's.

    The file is replaced as a whole: a process that reads half an offset would have a third time.
    """
    home = space.path(CLOCK)
    (home / "new").write_text(f"{seconds:+d}\n")
    (home / "new").rename(home / "offset")


def _move_to_small_disks(node: Space) -> None:
    """Mount a small tmpfs over both directories, with what they have, while nothing runs there.

    The agent of before keeps the directory that it has open, until it is replaced.
    """
    for name in SWITCH:
        node.service(name).stop()
    for path, size in SIZES.items():
        node.sh(
            f"mkdir -p /run/soak-copy; mount -n -t tmpfs -o size={size},mode=755 soak"
            f" /run/soak-copy; cp -a {path}/. /run/soak-copy;"
            f" mount -n --bind /run/soak-copy {path}; umount -n /run/soak-copy"
        )
    for name in reversed(SWITCH):
        node.restart(name, env=clock())
    node.run(["ovs-vsctl", "--timeout=30", "set", "bridge", "br-int", "other_config:soak=begun"])


def _patch() -> dict[str, object]:
    """Return the agent's environment and volumes for the bed's clock and gate."""
    there = {"KUBERNETES_SERVICE_HOST": layout.CONTROL_IP, "KUBERNETES_SERVICE_PORT": str(PORT)}
    folders = {"soak-clock": CLOCK, "soak-library": str(library().parent)}
    container = {
        "name": "agent",
        "env": [{"name": key, "value": value} for key, value in (clock() | there).items()],
        "volumeMounts": [
            {"name": name, "mountPath": path, "readOnly": True} for name, path in folders.items()
        ],
    }
    volumes = [{"name": name, "hostPath": {"path": path}} for name, path in folders.items()]
    return {"spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}}}


@dataclass
class Stage:
    """A prepared bed with its pods."""

    env: Environment
    gate: Gate

    @property
    def node(self) -> Space:
        """The node that is broken."""
        return self.env.bed.node()

    @property
    def control(self) -> Space:
        """The space of OVN's databases and of the API server."""
        return self.env.bed.space(layout.CONTROL)

    @property
    def agent(self) -> int:
        """The agent's PID in the node's space, or 0 while none runs."""
        return max(self.env.agent_pids(), default=0)

    def kill_agent(self) -> None:
        """Kill the agent with SIGKILL. kubelet starts the next one."""
        for pid in self.env.agent_pids():
            self.node.run(["kill", "-KILL", str(pid)], check=False)

    def compact(self) -> float:
        """Compact OVSDB and return its size in bytes: otherwise its file is a log of changes."""
        words = ["ovs-appctl", "-t", "ovsdb-server", "ovsdb-server/compact"]
        self.node.run(words, timeout=30)
        return float(self.node.path(f"{DATABASE}/conf.db").stat().st_size)

    @contextmanager
    def running(self, *words: str) -> Iterator[None]:
        """Run a tool on the node for the block, and end it with SIGTERM."""
        code = {"PYTHONPATH": str(Path(__file__).parents[2])}
        silent = os.open(os.devnull, os.O_WRONLY)
        process = self.node.popen(words, env=code, stdout=silent, stderr=silent)
        os.close(silent)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
