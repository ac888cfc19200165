"""What is tried amid moves: the agent killed after each step, and pairs of faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from proofs.underlay.moves import MOVED_WITHIN, Proof
from proofs.underlay.rows import soon
from testbed import progress
from testbed.service import wait_for

# More steps than any move has: an agent that outlasts its move ends the round before.
STEPS = 60
# What the pairs are made of, beside the end of the agent. Another daemon or an administrator can
# do each of them; none takes away what the record alone cannot bring back.
AMID = (
    "uplink deleted",
    "bridge deleted",
    "mapping overwritten",
    "trunk lost",
    "access port",
    "address back on the NIC",
    "bridge down",
    "NIC down",
)
KILLED = "agent killed"


def each_step(proof: Proof, stride: int = 1) -> None:
    """Kill the agent after each step of a move, and of the removal after it.

    The next agent goes back and moves again, or finishes the removal.
    """

    def gone() -> bool:
        return proof.back() and not proof.node.record()

    proof.take_back()
    for steps in range(0, STEPS, stride):
        moves = _killed(proof, f"{steps} steps of a move", steps, (proof.edit, proof.moved))
        removal = (proof.node.remove, gone)
        if not _killed(proof, f"{steps} steps of a removal", steps, removal) and not moves:
            progress.say(f"    both have at most {steps} steps")
            break
    else:
        proof.row(f"both have less than {STEPS} steps")
    proof.node.kill()
    proof.node.start()


def _killed(
    proof: Proof,
    what: str,
    steps: int,
    how: tuple[Callable[[], object], Callable[[], bool]],
) -> bool:
    """Kill an agent after some steps, and start the next one; return whether it had so many.

    ``how`` changes the object, and says whether the node is as it should be then. The control:
    without the next agent it is not.
    """
    change, whole = how
    proof.node.kill()
    change()
    proof.node.spawn(steps)
    if not _ends(proof, whole):
        return False
    stays = not whole()
    row = proof.tried(f"killed after {what}", proof.node.spawn, whole, restarts=True)
    row.control_broken = stays
    return True


def _ends(proof: Proof, whole: Callable[[], bool]) -> bool:
    """Return whether the agent is killed before the state after is there."""
    agent = proof.node.agent
    assert agent is not None
    wait_for(lambda: not agent.alive or whole(), "the end of an agent", MOVED_WITHIN)
    return not agent.alive


def pairs(proof: Proof, number: int) -> None:
    """Let two faults meet at random moments of moves; each ends in one of the two good states.

    Then an edit of the object, as a person would make it, moves the node. The control: for some
    pairs, the node is in neither state after the second fault.
    """
    row = proof.row(f"{number} random pairs of faults during moves, seed {proof.seed}")
    began, every = time.monotonic(), True
    for at in range(number):
        proof.take_back()
        one, other = proof.random.sample((*AMID, KILLED, KILLED), 2)
        waits = [proof.random.uniform(0, 0.3) for _ in range(2)]
        proof.edit()
        wait_for(partial(_begun, proof), "the begin of a move", MOVED_WITHIN)
        for name, pause in zip((one, other), waits, strict=True):
            time.sleep(pause)
            proof.inject(name)
        row.control_broken |= not (proof.moved() or proof.back())
        if proof.node.agent is None:
            proof.node.start()
        pair = f"pair {at}: {one}, {other}"
        good = soon(partial(_good, proof), pair, MOVED_WITHIN)
        if good and proof.node.is_held():
            proof.edit()
            good = soon(proof.moved, f"a move after {pair}", MOVED_WITHIN)
        if not good:
            progress.say(f"    {pair}: {proof.node.record().get('phase')} {proof.node.state()}")
        every &= good
    row.ok = every
    row.seconds = round((time.monotonic() - began) / max(number, 1), 2)


def _begun(proof: Proof) -> bool:
    return bool(proof.node.record()) and proof.node.state() != proof.on_nic


def _good(proof: Proof) -> bool:
    """Return whether the node has moved whole, or has all on its NIC and waits for an edit."""
    return proof.moved() or (proof.node.is_held() and proof.back())
