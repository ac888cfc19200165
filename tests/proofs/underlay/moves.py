"""What is tried with the uplink of one node: a move, each fault, and the removal."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from proofs.underlay.node import BRIDGE, INTERVAL, NIC, Uplinked
from proofs.underlay.rows import Row, soon
from testbed import layout, progress
from testbed.service import wait_for

# Seconds: a move, a way back or a restart, on a machine that has much else to do; a repair; how
# long a fault must last without an agent; an outage of a move.
MOVED_WITHIN, REPAIRED_WITHIN, STAYS, OUTAGE = 90.0, 15.0, 1.0, 1.0
FAULTS = {
    "uplink deleted": f"ovs-vsctl del-port {BRIDGE} {NIC}",
    "bridge deleted": f"ovs-vsctl del-br {BRIDGE}",
    "mapping overwritten": "ovs-vsctl set open . external_ids:ovn-bridge-mappings=other:br-x",
    "trunk lost": f"ovs-vsctl set port {NIC} trunks=0",
    "access port": f"ovs-vsctl set port {NIC} tag=7",
    "address back on the NIC": f"ip address add {layout.node_ip(0)}/24 dev {NIC}",
    "routes flushed": f"ip route flush dev {BRIDGE}",
    "routes of another table flushed": "ip route flush table 100",
    "addresses flushed": f"ip address flush dev {BRIDGE} scope global",
    "rule deleted": "ip rule del priority 50",
    "bridge down": f"ip link set {BRIDGE} down",
    "NIC down": f"ip link set {NIC} down",
}
# Some of each driver: rows, links, addresses and routes.
SHORT = ("uplink deleted", "bridge deleted", "address back on the NIC", "routes flushed")


class Proof:
    """The rows, and the state of the node before and after the first move."""

    def __init__(self, node: Uplinked, seed: int) -> None:
        self.node, self.rows, self.random = node, list[Row](), random.Random(seed)
        self.seed = seed
        self.on_nic = node.state()
        self.on_bridge: dict[str, Any] = {}
        self._version = 0

    def row(self, name: str) -> Row:
        """Add a row."""
        self.rows.append(Row(name))
        return self.rows[-1]

    def tried(
        self,
        name: str,
        change: Callable[[], object],
        whole: Callable[[], bool],
        *,
        restarts: bool = False,
    ) -> Row:
        """Change something under the node's own ping, and wait until the node is whole.

        The time of the change itself counts where it ``restarts`` the agent.
        """
        row = self.row(name)
        with self.node.pinging() as counted:
            time.sleep(0.2)
            began = time.monotonic()
            change()
            began = began if restarts else time.monotonic()
            row.ok = soon(whole, name, MOVED_WITHIN)
            row.seconds = round(time.monotonic() - began, 2)
            if not row.ok:
                progress.say(f"    {name}: {self.node.state()}")
            time.sleep(0.2)
        row.lost = counted["lost"]
        return row

    def moved(self) -> bool:
        """Return whether the node is as after its first move, and that is proved."""
        return self.node.is_settled() and self.node.state() == self.on_bridge

    def back(self) -> bool:
        """Return whether the node is as before its first move."""
        return self.node.state() == self.on_nic

    def first_move(self) -> None:
        """Create the network. The control: without it, nothing is moved."""
        time.sleep(STAYS)
        untouched = self.back()

        def arrived() -> bool:
            self.on_bridge = self.node.state()
            here = self.on_bridge["bridge"] == self.on_nic["nic"] and not self.on_bridge["nic"]
            return bool(here and self.on_bridge["mapped"] and self.node.is_settled())

        row = self.tried("first move", self.edit, arrived)
        row.control_broken = untouched
        row.ok &= row.lost is not None and row.lost * INTERVAL <= OUTAGE

    def faults(self, *, short: bool = False) -> None:
        """Break each thing under an agent, then without one; a restart must find it too."""
        for name in SHORT if short else FAULTS:
            row = self.tried(name, partial(self.inject, name), self.moved)
            row.ok &= row.seconds is not None and row.seconds <= REPAIRED_WITHIN
            self.node.kill()
            self.inject(name)
            time.sleep(STAYS)
            row.control_broken = not self.moved()
            self.node.start()
            row.ok &= soon(self.moved, f"{name}, found by a restart", MOVED_WITHIN)

    def removal(self) -> None:
        """Delete the network: the NIC has what it had, routes of all tables included."""
        self.move_again()
        row = self.tried("removal: the NIC has what it had", self.node.remove, self.back)
        row.control_broken = bool(self.on_bridge) and self.on_bridge != self.on_nic
        row.ok &= row.lost is not None and row.lost * INTERVAL <= OUTAGE

    def take_back(self) -> None:
        """Delete the network, and return once the NIC has what it had and no record is left."""
        self.node.remove()
        whole = lambda: self.back() and not self.node.record()  # noqa: E731
        wait_for(whole, f"the removal: {self.node.state()}", MOVED_WITHIN)

    def move_again(self) -> None:
        """Create or edit the network, unless the node has moved, and wait until it has."""
        if not self.moved():
            self.edit()
            wait_for(self.moved, "another move", MOVED_WITHIN)

    def edit(self) -> None:
        """Create the network, or edit it: a move that went back is tried again then."""
        self._version += 1
        self.node.put(self._version)

    def inject(self, name: str) -> None:
        """Break something, or end the agent."""
        if name == "agent killed":
            return self.node.kill()
        done = self.node.node.result(FAULTS[name].split())
        if done.returncode:
            progress.say(f"    {name}: {done.stderr.strip()}")
        return None
