"""What is tried with the uplink of one node: moves, each fault, kills, and ways back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from proofs.underlay.node import BRIDGE, INTERVAL, NIC, TIMEOUT, Uplinked
from proofs.underlay.rows import Row
from testbed import layout, progress
from testbed.service import BedError, wait_for

# Seconds: a move and a repair; how long a fault must last without an agent; an outage of a move.
MOVED_WITHIN, REPAIRED_WITHIN, STAYS, OUTAGE = 30.0, 15.0, 1.0, 1.0
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
_DROP = ("iptables-nft", "INPUT", "-p", "tcp", "--dport", str(layout.API_PORT), "-j", "DROP")


class Proof:
    """The rows, and the state of the node before and after the first move."""

    def __init__(self, node: Uplinked, seed: int) -> None:
        self.node, self.rows, self.random = node, list[Row](), random.Random(seed)
        self.seed, self.version = seed, 0
        self.on_nic = node.state()
        self.on_bridge: dict[str, Any] = {}

    def tried(self, name: str, change: Callable[[], object], whole: Callable[[], bool]) -> Row:
        """Change something under the node's own ping, and wait until the node is whole."""
        row = Row(name)
        self.rows.append(row)
        with self.node.pinging() as counted:
            time.sleep(0.2)
            change()
            began = time.monotonic()
            try:
                row.ok = wait_for(whole, name, MOVED_WITHIN)
            except BedError:
                progress.say(f"    {name}: {self.node.state()}")
            row.seconds = round(time.monotonic() - began, 2)
            time.sleep(0.2)
        row.lost = counted["lost"]
        return row

    def moved(self) -> bool:
        """Return whether the node is as after its first move."""
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

        row = self.tried("first move", self.node.put, arrived)
        row.control_broken = untouched
        row.ok &= row.lost is not None and row.lost * INTERVAL <= OUTAGE

    def faults(self) -> None:
        """Break each thing under an agent, then without one; a restart must find it too."""
        for name, command in FAULTS.items():
            row = self.tried(name, partial(self._break, command), self.moved)
            row.ok &= row.seconds is not None and row.seconds <= REPAIRED_WITHIN
            self.node.kill()
            self._break(command)
            time.sleep(STAYS)
            row.control_broken = not self.moved()
            self.node.start()
            row.ok &= self._soon(self.moved, f"{name}, found by a restart")

    def kills(self, number: int) -> None:
        """End the agent at random moments of moves; the next one ends in a good state."""
        row = Row(f"killed at {number} moments of moves, seed {self.seed}", ok=True)
        self.rows.append(row)
        began = time.monotonic()
        for _ in range(number):
            self.node.remove()
            row.ok &= self._soon(self.back, "removal")
            self.node.put()
            wait_for(lambda: self.node.state() != self.on_nic, "the begin of a move", MOVED_WITHIN)
            time.sleep(self.random.uniform(0, 0.1))
            self.node.kill()
            row.control_broken |= not (self.moved() or self.back())
            self.node.start()
            row.ok &= self._soon(self.moved, "the move after a kill")
        row.seconds = round((time.monotonic() - began) / number, 2)

    def wrong_vlan(self) -> None:
        """Cut the node off as its NIC joins the bridge: all goes back, and is not tried again."""
        self.node.remove()
        self._soon(self.back, "removal")
        row = Row("switch cuts the bridge off")
        self.rows.append(row)
        self.node.put(1)
        wait_for(lambda: NIC in self.node.vsctl("list-ports", BRIDGE), "the join", MOVED_WITHIN)
        row.control_broken = True
        self.node.outside.run(["ip", "link", "set", "n0", "nomaster"])
        began = time.monotonic()
        row.ok = self._soon(self.back, "way back", TIMEOUT + 5)
        row.seconds = round(time.monotonic() - began, 2)
        self.node.outside.run(["ip", "link", "set", "n0", "master", "underlay"])
        time.sleep(8)
        row.ok &= self.back()

    def api_vanishes(self) -> None:
        """Block the API server as the NIC joins: back, and moved once it answers again."""
        row = Row("API server vanishes")
        self.rows.append(row)
        self.node.put(2)
        wait_for(lambda: NIC in self.node.vsctl("list-ports", BRIDGE), "the join", MOVED_WITHIN)
        tool, *rule = _DROP
        self.node.outside.run([tool, "-I", *rule])
        began = time.monotonic()
        row.ok = self._soon(self.back, "way back", TIMEOUT + 5)
        row.seconds = round(time.monotonic() - began, 2)
        time.sleep(8)
        row.control_broken = self.back()
        self.node.outside.run([tool, "-D", *rule])
        row.ok &= self._soon(self.moved, "the move once it answers")

    def removal(self) -> None:
        """Delete the network: the NIC has what it had, routes of all tables included."""
        row = self.tried("removal", self.node.remove, self.back)
        row.control_broken = bool(self.on_bridge) and self.on_bridge != self.on_nic
        row.ok &= row.lost is not None and row.lost * INTERVAL <= OUTAGE

    def _break(self, command: str) -> None:
        done = self.node.node.result(command.split())
        if done.returncode:
            progress.say(f"    {command}: {done.stderr.strip()}")

    @staticmethod
    def _soon(whole: Callable[[], bool], what: str, within: float = MOVED_WITHIN) -> bool:
        try:
            return bool(wait_for(whole, what, within))
        except BedError:
            progress.say(f"    not in time: {what}")
            return False
