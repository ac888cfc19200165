"""The faults of the database's cluster. Each does its harm, waits, and undoes it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed import raft
from testbed.bed import Bed
from testbed.raft import Member

SCHEMA = Path("/usr/share/ovn/ovn-nb.ovsschema")


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a fault lasts, and how long a member is cut off, in seconds."""

    fault: float
    cut: float


def leader_killed(bed: Bed, durations: Durations) -> None:
    """Kill the member that leads, with its ovn-northd, and start it again later."""
    gone = raft.leader(bed)
    gone.kill()
    time.sleep(durations.fault)
    gone.start()


def member_cut_off(bed: Bed, durations: Durations) -> None:
    """Cut the leader off from the other members, while its clients still reach it."""
    gone = raft.leader(bed)
    gone.cut()
    time.sleep(durations.cut)
    gone.join()


def all_restarted(bed: Bed, durations: Durations) -> None:
    """Restart one member after the other, each when the one before is in the cluster again."""
    for member in raft.members(bed):
        member.restart()
        time.sleep(durations.fault / raft.COUNT)


def disk_full(bed: Bed, durations: Durations) -> None:
    """Leave no room on the disk of a member that follows."""
    member = _follower(bed)
    member.fill()
    time.sleep(durations.fault)
    member.empty()


def upgraded(bed: Bed, durations: Durations) -> None:
    """Convert the database to a schema of a later version."""
    schema = json.loads(SCHEMA.read_text())
    first, *rest = str(schema["version"]).split(".")
    schema["version"] = ".".join([first, *(str(int(number) + 1) for number in rest)])
    schema.pop("cksum", None)
    space = raft.leader(bed).space
    path = space.directory / "later.ovsschema"
    path.write_text(json.dumps(schema))
    space.run(["ovsdb-client", "convert", "unix:/run/ovn/ovnnb_db.sock", path])
    time.sleep(durations.fault / 2)


def _follower(bed: Bed) -> Member:
    ahead = raft.leader(bed)
    return next(member for member in raft.members(bed) if member.index != ahead.index)


FAULTS: dict[str, Callable[[Bed, Durations], None]] = {
    "leader killed": leader_killed,
    "member cut off": member_cut_off,
    "all three restarted one after the other": all_restarted,
    "a member's disk full": disk_full,
    "schema upgraded": upgraded,
}
