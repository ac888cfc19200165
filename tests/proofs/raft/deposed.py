"""A leader that is stopped until another one leads, and then goes on.

It renews a Lease of 60 s every 12 s. An administrator shortens the Lease while it is stopped, so
that a successor leads within these 12 s and the former leader still believes in its Lease when it
goes on. Its successor is stopped at that moment: whatever is written then, the former leader wrote.
"""

import signal
import time

from proofs.raft.load import Load
from proofs.raft.observer import Observer
from proofs.raft.stage import LEASE, Stage
from testbed import progress
from testbed.service import BedError, wait_for

# Seconds. A fifth of the Lease is between two renewals; the last second is left to the leader.
WATCHED, BELIEVES = 3.0, 60 / 5 - 1
PODS, ATTEMPTS = 10, 3
# A controller whose transactions do not check the term: the control.
UNFENCED = """
from ovnlet.drivers.northbound import fence
fence._check = lambda _: {"op": "comment", "comment": ""}
from ovnlet.__main__ import main
main()
"""


def wake(stage: Stage, load: Load, observer: Observer, *, fenced: bool) -> int:
    """Return how many ports the former leader wrote under its successor's term.

    On a machine so slow that it no longer believes in its Lease when it goes on, try again.
    """
    for attempt in range(ATTEMPTS):
        prefix = f"late-{'fenced' if fenced else 'unfenced'}-{attempt}-"
        woken_after, wrote = _wake(stage, load, observer, prefix, "" if fenced else UNFENCED)
        if not fenced:
            stage.end("old")
        stage.send("new", signal.SIGCONT)
        progress.say(f"    woken {woken_after:.1f} s after it renewed its Lease")
        if wrote or woken_after < BELIEVES:
            return wrote
    raise BedError(f"no leader woken within {BELIEVES:g} s of its renewal: the machine is too slow")


def _wake(
    stage: Stage, load: Load, observer: Observer, prefix: str, program: str
) -> tuple[float, int]:
    """Return after which part of its Lease the former leader went on, and what it wrote."""
    stage.stop()
    stage.start("old", 60, program)
    stage.leads("old")
    stage.start("new", 10)
    wait_for(lambda: not load.waiting(), "all pods so far", timeout=60)
    renewed = stage.lease()["renewTime"]
    wait_for(lambda: stage.lease()["renewTime"] != renewed, "the Lease renewed", 30, 0.1)
    begun = time.monotonic()
    stage.send("old", signal.SIGSTOP)
    stage.bed.api.patch(LEASE, {"spec": {"leaseDurationSeconds": 1}})
    stage.leads("new")
    since = time.monotonic()
    wait_for(lambda: load.allocated and max(tuple(load.allocated.values())) > since, "a pod", 30)
    term, _ = observer.term_and_ports("late-")
    stage.send("new", signal.SIGSTOP)
    for number in range(PODS):
        load.add(f"{prefix}{number}")
    woken_after = time.monotonic() - begun
    stage.send("old", signal.SIGCONT)
    wrote, ends = 0, time.monotonic() + WATCHED
    while time.monotonic() < ends:
        current, ports = observer.term_and_ports(prefix)
        if current == term:
            wrote = ports
    return woken_after, wrote
