"""What cuts the node off amid a move: the timer gives everything back, and an Event says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from proofs.underlay.moves import MOVED_WITHIN, Proof
from proofs.underlay.node import NIC, TIMEOUT
from proofs.underlay.rows import soon
from testbed import layout, progress
from testbed.service import wait_for

# Seconds: of the node's timer and for its way back; a timer that does not end; how long the node
# must be left alone, which is more than the agent waits between two looks.
WITHIN, ENDLESS, LEFT_ALONE = TIMEOUT + 5, 300.0, 8.0
_API = f"INPUT -p tcp --dport {layout.API_PORT} -j DROP"


def wrong_vlan(proof: Proof) -> None:
    """Let the switch have the node in a broadcast domain without anybody else."""
    proof.node.outside.sh("ip link add elsewhere type bridge; ip link set elsewhere up")
    cut, join = (f"ip link set n0 master {name}" for name in ("elsewhere", "underlay"))
    _cut_off(proof, "a switch has the node in another VLAN", cut, join)


def mac_blocked(proof: Proof) -> None:
    """Let the switch drop the frames of the bridge by their source."""
    mac = proof.node.node.sh(f"cat /sys/class/net/{NIC}/address").strip()
    chain = "nft add chain netdev blocked c '{ type filter hook ingress device n0 priority 0; }'"
    cut = f"nft add table netdev blocked; {chain}; nft add rule netdev blocked c ether saddr {mac}"
    _cut_off(
        proof, "a switch blocks the bridge's MAC", f"{cut} drop", "nft delete table netdev blocked"
    )


def api_vanishes(proof: Proof) -> None:
    """Let the API server be silent: it goes back too, and is tried again once that answers."""
    cut, join = (f"iptables-nft {verb} {_API}" for verb in ("-I", "-D"))
    _cut_off(proof, "the API server vanishes", cut, join, again=True)


def _cut_off(proof: Proof, name: str, cut: str, join: str, *, again: bool = False) -> None:
    """Cut the node off as its NIC joins the bridge. It is back in time, and left alone.

    The control: with a timer that does not end, it stays cut off.
    """
    outside = proof.node.outside
    row = proof.row(name)
    proof.take_back()
    proof.node.kill()
    proof.node.start(timeout=ENDLESS, stops=True)
    _as_it_joins(proof, lambda: outside.sh(cut))
    time.sleep(WITHIN)
    row.control_broken = not proof.back() and proof.node.record().get("phase") == "moving"
    outside.sh(join)
    wait_for(proof.moved, "the move once the switch is right", MOVED_WITHIN)
    proof.take_back()
    proof.node.kill()
    proof.node.start(stops=True)
    told = proof.node.events("UplinkWentBack")
    _as_it_joins(proof, lambda: outside.sh(cut))
    began = time.monotonic()
    row.ok = soon(proof.back, "the way back", WITHIN)
    row.seconds = round(time.monotonic() - began, 2)
    time.sleep(LEFT_ALONE)
    row.ok &= proof.back()
    outside.sh(join)
    if again:
        row.ok &= soon(proof.moved, "the move once it answers", MOVED_WITHIN)
    else:
        time.sleep(LEFT_ALONE)
        row.ok &= proof.back()
        row.ok &= soon(lambda: "not answer" in proof.node.told(), "the reason", MOVED_WITHIN)
    row.ok &= soon(partial(_told, proof, told), "Events on both objects", MOVED_WITHIN)


def _told(proof: Proof, before: set[tuple[str, str]]) -> bool:
    """Return whether new Events on the Node and on the ProviderNetwork say what happened."""
    new = proof.node.events("UplinkWentBack") - before
    progress.say(f"    {sorted({text for _, text in new})}")
    return {kind for kind, text in new if "not answer" in text} == {"Node", "ProviderNetwork"}


def _as_it_joins(proof: Proof, cut: Callable[[], object]) -> None:
    proof.edit()
    with proof.node.stopped():
        cut()
