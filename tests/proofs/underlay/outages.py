"""What is tried with a settled move while a daemon, the agent or the node is away."""

from __future__ import annotations

import time
from collections.abc import Callable

from proofs.underlay.moves import MOVED_WITHIN, STAYS, Proof
from proofs.underlay.rows import soon
from testbed import layout, switch


def switch_restarted(proof: Proof) -> None:
    """Restart ovs-vswitchd. The bridge's link outlasts it; the node's traffic goes on after it.

    The control: while it is away, nothing is forwarded in userspace.
    """
    row = proof.row("ovs-vswitchd restarted")
    proof.move_again()
    node = proof.node.node
    node.service("ovs-vswitchd").kill()
    row.control_broken = not proof.node.reaches(layout.CONTROL_IP)
    switch.start_vswitchd(node)
    began = time.monotonic()
    row.ok = soon(lambda: proof.node.reaches(layout.CONTROL_IP), "an answer", MOVED_WITHIN)
    row.seconds = round(time.monotonic() - began, 2)
    row.ok &= soon(proof.moved, "the node as before", MOVED_WITHIN)


def database_wiped(proof: Proof) -> None:
    """Delete the node's conf.db, and start Open vSwitch as the host does."""

    def wipe() -> None:
        node = proof.node.node
        for name in ("ovs-vswitchd", "ovsdb-server"):
            node.service(name).kill()
        node.sh("rm -f /etc/openvswitch/conf.db /run/openvswitch/db.sock")
        node.start_switch(tunnel=False)

    _broken(proof, "conf.db wiped", wipe)


def deleted_meanwhile(proof: Proof) -> None:
    """Delete the network while no agent runs: the next one gives all back."""
    row = proof.row("the network deleted while the agent is away")
    proof.move_again()
    proof.node.kill()
    proof.node.remove()
    time.sleep(STAYS)
    row.control_broken = not proof.back()
    began = time.monotonic()
    proof.node.start()
    row.ok = soon(lambda: proof.back() and not proof.node.record(), "the NIC", MOVED_WITHIN)
    row.seconds = round(time.monotonic() - began, 2)
    proof.move_again()


def rebooted(proof: Proof) -> None:
    """Cut the power: the bridge is in conf.db, and the host sets the addresses on the NIC."""
    row = proof.row("node rebooted")
    proof.move_again()
    proof.node.kill()
    proof.node.reboot()
    time.sleep(STAYS)
    row.control_broken = not proof.moved()
    began = time.monotonic()
    proof.node.start()
    row.ok = soon(proof.moved, "the node as before its reboot", MOVED_WITHIN)
    row.seconds = round(time.monotonic() - began, 2)


ALL = (switch_restarted, database_wiped, deleted_meanwhile, rebooted)


def _broken(proof: Proof, name: str, outage: Callable[[], None]) -> None:
    """Make an outage under an agent, then without one: a restarted agent must find it, too."""
    proof.move_again()
    row = proof.tried(name, outage, proof.moved)
    proof.node.kill()
    outage()
    time.sleep(STAYS)
    row.control_broken = not proof.moved()
    proof.node.start()
    row.ok &= soon(proof.moved, f"{name}, found by a restart", MOVED_WITHIN)
