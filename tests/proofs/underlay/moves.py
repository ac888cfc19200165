"""What is tried with the uplink of one node: moves, each fault, kills, and ways back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from proofs.underlay.node import BRIDGE, INTERVAL, NIC, TIMEOUT, Uplinked
from proofs.underlay.rows import Row, soon
from testbed import layout, progress
from testbed.service import BedError, wait_for

# Seconds: a move and a repair; how long a fault must last without an agent; an outage of a move.
MOVED_WITHIN, REPAIRED_WITHIN, STAYS, OUTAGE = 30.0, 15.0, 1.0, 1.0
# More steps than any move has: the agent survives, and the round of kills is over.
STEPS = 60
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
# What each pair has, beside the end of the agent: nothing that the node cannot come back from.
_AMID = ("uplink deleted", "bridge deleted", "mapping overwritten", "trunk lost", "bridge down")
# Some of each driver: rows, links, addresses and routes.
_SHORT = ("uplink deleted", "bridge deleted", "address back on the NIC", "routes flushed")
_DROP = ("iptables-nft", "INPUT", "-p", "tcp", "--dport", str(layout.API_PORT), "-j", "DROP")


def _match_source(mac: str) -> str:
    """Return the u32 match of a frame's source MAC, 8 to 3 bytes before the network header."""
    digits = mac.replace(":", "")
    words = (digits[at : at + 4] for at in range(0, 12, 4))
    return " ".join(f"match u16 0x{word} 0xffff at {2 * i - 8}" for i, word in enumerate(words))


class Proof:
    """The rows, and the state of the node before and after the first move."""

    def __init__(self, node: Uplinked, seed: int) -> None:
        self.node, self.rows, self.random = node, list[Row](), random.Random(seed)
        self.seed = seed
        self.on_nic = node.state()
        self.on_bridge: dict[str, Any] = {}
        self._version = 0

    def tried(self, name: str, change: Callable[[], object], whole: Callable[[], bool]) -> Row:
        """Change something under the node's own ping, and wait until the node is whole."""
        row = self.row(name)
        with self.node.pinging() as counted:
            time.sleep(0.2)
            change()
            began = time.monotonic()
            try:
                row.ok = bool(wait_for(whole, name, MOVED_WITHIN))
            except BedError:
                progress.say(f"    {name}: {self.node.state()}")
            row.seconds = round(time.monotonic() - began, 2)
            time.sleep(0.2)
        row.lost = counted["lost"]
        return row

    def row(self, name: str, *, ok: bool = False) -> Row:
        """Add a row."""
        self.rows.append(Row(name, ok))
        return self.rows[-1]

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

    def faults(self, *, short: bool = False) -> None:
        """Break each thing under an agent, then without one; a restart must find it too."""
        for name in _SHORT if short else FAULTS:
            row = self.tried(name, partial(self._break, name), self.moved)
            row.ok &= row.seconds is not None and row.seconds <= REPAIRED_WITHIN
            self.node.kill()
            self._break(name)
            time.sleep(STAYS)
            row.control_broken = not self.moved()
            self.node.start()
            row.ok &= soon(self.moved, f"{name}, found by a restart", MOVED_WITHIN)

    def kills(self) -> None:
        """Kill the agent after each step of a move; the next one goes back and moves again.

        The control: without the next one, the node stays between the two states, for some steps.
        """
        summary = self.row("an agent killed after each step of a move: without the next one")
        began = time.monotonic()
        for steps in range(STEPS):
            self._take_back()
            self.node.kill()
            self.node.start(steps)
            self.node.put(self._next())
            if not self._died():
                break
            summary.control_broken |= not (self.moved() or self.back())
            reached = partial(soon, self.moved, f"a move after {steps} steps", MOVED_WITHIN)
            row = self.tried(f"killed after {steps} steps of a move", self.node.start, self.moved)
            row.ok = row.ok or reached()
            row.control_broken = True  # by the row of all steps
        summary.ok = steps > 0
        summary.seconds = round(time.monotonic() - began, 2)
        progress.say(f"    a move has {steps} steps")
        self.node.kill()
        self.node.start()
        soon(self.moved, "a move that nobody disturbs", MOVED_WITHIN)

    def _died(self) -> bool:
        """Return whether the agent kills itself before its move is proved."""
        agent = self.node.agent
        assert agent is not None
        wait_for(lambda: not agent.alive or self.node.is_settled(), "a kill", MOVED_WITHIN)
        return not agent.alive

    def pairs(self, number: int) -> None:
        """Let two faults meet at random moments of moves; the agent may end between them."""
        row = self.row(f"{number} random pairs of faults during moves, seed {self.seed}", ok=True)
        began = time.monotonic()
        for _ in range(number):
            self._take_back()
            one, other = self.random.sample((*_AMID, "agent killed"), 2)
            pauses = [self.random.uniform(0, 0.3) for _ in range(2)]
            self.node.put(self._next())
            wait_for(lambda: self.node.state() != self.on_nic, "the begin of a move", MOVED_WITHIN)
            for name, pause in zip((one, other), pauses, strict=True):
                time.sleep(pause)
                self._break(name)
            row.control_broken |= not (self.moved() or self.back())
            if self.node.agent is None:
                self.node.start()
            # A fault amid a move may take it back; the object is then edited, as a person would.
            if not soon(
                lambda: self.moved() or self.node.is_held(), f"{one}, {other}", MOVED_WITHIN
            ):
                row.ok = False
            if self.node.is_held():
                row.ok &= soon(self.back, f"way back after {one}, {other}", MOVED_WITHIN)
                self.node.put(self._next())
                row.ok &= soon(self.moved, f"a move after {one}, {other}", MOVED_WITHIN)
        row.seconds = round((time.monotonic() - began) / max(number, 1), 2)

    def wrong_vlan(self) -> None:
        """Cut the node off as its NIC joins the bridge: all goes back, and is not tried again."""
        self._dead_man(
            "switch cuts the bridge off",
            "ip link set n0 nomaster",
            "ip link set n0 master underlay",
        )

    def mac_blocked(self) -> None:
        """Let the switch drop the node's frames by their MAC as the NIC joins."""
        mac = self.node.node.sh(f"cat /sys/class/net/{NIC}/address").strip()
        block = "tc qdisc add dev n0 ingress; tc filter add dev n0 ingress protocol all prio 1 u32"
        match = _match_source(mac)
        self._dead_man(
            "switch blocks the bridge's MAC",
            f"{block} {match} action drop",
            "tc qdisc del dev n0 ingress",
        )

    def _dead_man(self, name: str, cut: str, mend: str) -> None:
        """Cut the uplink off amid a move. The node is back in time, untouched, and says why.

        The control: before the timer ends the move, nothing brings the node back.
        """
        self._take_back()
        row = self.row(name)
        self.node.put(self._next())
        wait_for(lambda: NIC in self.node.vsctl("list-ports", BRIDGE), "the join", MOVED_WITHIN)
        self.node.outside.sh(cut)
        began = time.monotonic()
        time.sleep(TIMEOUT / 3)
        row.control_broken = not self.back() and not self.node.reaches(layout.CONTROL_IP)
        row.ok = soon(self.back, "way back", TIMEOUT + 5)
        row.seconds = round(time.monotonic() - began, 2)
        row.ok &= row.seconds <= TIMEOUT + 5
        self.node.outside.sh(mend)
        time.sleep(8)
        row.ok &= self.back()
        row.ok &= soon(lambda: "does not answer" in self.node.told(), "the reason", MOVED_WITHIN)
        progress.say(f"    told: {self.node.told()}")

    def api_vanishes(self) -> None:
        """Block the API server as the NIC joins: back, and moved once it answers again."""
        self._take_back()
        row = self.row("API server vanishes")
        self.node.put(self._next())
        wait_for(lambda: NIC in self.node.vsctl("list-ports", BRIDGE), "the join", MOVED_WITHIN)
        tool, *rule = _DROP
        self.node.outside.run([tool, "-I", *rule])
        began = time.monotonic()
        row.ok = soon(self.back, "way back", TIMEOUT + 5)
        row.seconds = round(time.monotonic() - began, 2)
        time.sleep(8)
        row.control_broken = self.back()
        self.node.outside.run([tool, "-D", *rule])
        row.ok &= soon(self.moved, "the move once it answers", MOVED_WITHIN)

    def removal(self) -> None:
        """Delete the network: the NIC has what it had, routes of all tables included."""
        if not self.moved():
            self.move_again()
        row = self.tried("removal: the NIC has what it had", self.node.remove, self.back)
        row.control_broken = bool(self.on_bridge) and self.on_bridge != self.on_nic
        row.ok &= row.lost is not None and row.lost * INTERVAL <= OUTAGE

    def _take_back(self) -> None:
        self.node.remove()
        if not soon(lambda: self.back() and not self.node.record(), "removal", MOVED_WITHIN):
            raise SystemExit(f"the node does not go back: {self.node.state()}")

    def move_again(self) -> None:
        """Edit or create the network, so that the node moves its uplink."""
        self.node.put(self._next())
        soon(self.moved, "another move", MOVED_WITHIN)

    def _next(self) -> int:
        self._version += 1
        return self._version

    def _break(self, name: str) -> None:
        if name == "agent killed":
            return self.node.kill()
        done = self.node.node.result(FAULTS[name].split())
        if done.returncode:
            progress.say(f"    {name}: {done.stderr.strip()}")
        return None
