"""OVN's databases as a cluster of three members, each in a space of its own with an ovn-northd.

A member's disk is a small tmpfs, so that a test can fill it. Its links lead over the bridge of the
control space, so that a test can cut it off from the others. Clients on this machine reach each
member through its unix socket, whatever its links do.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed import layout, switch, underlay
from testbed.service import Service, wait_for
from testbed.space import Space

if TYPE_CHECKING:
    from testbed.bed import Bed

COUNT = 3
DISK = "24m"
STATE = "/var/lib/ovn"
NAMES = {"nb": "OVN_Northbound", "sb": "OVN_Southbound"}
# By database: where clients connect, and where the other members do.
# The back-off of ovn-northd grows to 8 s and has no setting, and northd follows one leader of each
# database. One that has been without either for a second is started again, and tries all at once.
NORTHD = """
while :; do
  ovn-northd --pidfile "$@" & northd=$!
  without=0
  while kill -0 $northd 2>/dev/null && [ $without -lt 2 ]; do
    sleep 0.5
    case $(for each in nb sb; do ovn-appctl -T1 -t ovn-northd $each-connection-status; done) in
      *not*) without=$((without + 1)) ;;
      *) without=0 ;;
    esac
  done
  kill -9 $northd; wait $northd || :
done
"""
# Only a remote in the database can have another probe than 5 s. An active ovn-northd that was cut
# off keeps its lock until the server's probe of it has failed.
SB_REMOTES, SB_PROBE = "db:OVN_Southbound,SB_Global,connections", 1000
# How soon ovn-northd notices that its server was cut off: after twice these milliseconds. The
# default is 5000.
NORTHD_PROBE = "options:northd_probe_interval=1000"
PORTS = {"nb": (layout.NB_PORT, 6643), "sb": (layout.SB_PORT, 6644)}


@dataclass(frozen=True, slots=True)
class Member:
    """One of the three: both database servers and an ovn-northd."""

    index: int
    space: Space

    @property
    def remote(self) -> str:
        """The northbound server's unix socket, for clients outside the space."""
        return f"unix:{self.space.path('/run/ovn/ovnnb_db.sock')}"

    @property
    def services(self) -> list[Service]:
        """Both database servers, then ovn-northd."""
        return [self.space.service(name) for name in ("ovn-nb", "ovn-sb", "ovn-northd")]

    def create(self) -> None:
        """Create the databases: a new cluster for the first member, else a part of its cluster."""
        self.space.sh(f"mount -n -t tmpfs -o size={DISK} disk {STATE}")
        for short, (schema, _) in switch.SCHEMAS.items():
            own, first = _peer(short, self.index), _peer(short, 0)
            words = (
                f"create-cluster {_file(short)} {schema} {own}"
                if self.index == 0
                else f"join-cluster {_file(short)} {NAMES[short]} {own} {first}"
            )
            self.space.sh(f"ovsdb-tool {words}")

    def start(self) -> None:
        """Start the servers, wait until they are in the cluster, and start ovn-northd."""
        for short, (port, _) in PORTS.items():
            run = f"/run/ovn/ovn{short}_db"
            listen = f"ptcp:{port}:{_address(self.index)}" if short == "nb" else SB_REMOTES
            remotes = [f"--remote=punix:{run}.sock", f"--remote={listen}"]
            words = ["ovsdb-server", _file(short), *remotes, f"--unixctl={run}.ctl"]
            self.space.spawn(f"ovn-{short}", [*words, *switch.CONSOLE])
        for short in PORTS:
            server = self.space.service(f"ovn-{short}")
            server.wait_ready(lambda short=short: "joined" in self.state(short))  # type: ignore[misc]
        databases = [f"--ovn{short}-db={_clients(short)}" for short in PORTS]
        watched = ["sh", "-c", NORTHD, "northd", *databases, *switch.CONSOLE]
        self.space.spawn("ovn-northd", watched)

    def kill(self) -> None:
        """End all three without notice."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End all three and start them again."""
        self._end(signal.SIGTERM)
        self.start()

    def _end(self, number: signal.Signals) -> None:
        *servers, northd = self.services
        with suppress(ProcessLookupError):
            os.killpg(northd.pid, signal.SIGKILL)  # with the loop that would start it again
        for service in servers:
            service.stop(number)

    def cut(self) -> None:
        """Cut the member off from the other two. Its unix sockets still answer."""
        self.space.sh(f"ip link set {underlay.MANAGEMENT} down")

    def join(self) -> None:
        """Undo `cut`."""
        self.space.sh(f"ip link set {underlay.MANAGEMENT} up")

    def fill(self) -> None:
        """Leave no room on the member's disk."""
        self.space.result(["dd", "if=/dev/zero", f"of={STATE}/filled", "bs=4k"])

    def empty(self) -> None:
        """Undo `fill`."""
        self.space.run(["rm", "-f", f"{STATE}/filled"])

    def state(self, short: str = "nb") -> str:
        """Return what the server says of the cluster, "" while it does not answer."""
        control = f"--target=/run/ovn/ovn{short}_db.ctl"
        words = ["ovs-appctl", "-T2", control, "cluster/status", NAMES[short]]
        status = self.space.result(words).stdout
        return "joined\n" + status if "Status: cluster member" in status else status

    def leads(self, short: str = "nb") -> bool:
        """Return whether the member is the leader of the cluster."""
        return "Role: leader" in self.state(short)


def create(bed: Bed) -> None:
    """Create the spaces, their links, and the cluster; return when all members are in it."""
    assert bed.control
    spaces = [Space.create(bed.name, layout.member(index)) for index in range(COUNT)]
    for index, space in enumerate(spaces):
        underlay.lay_member(bed.control, space, index)
    for member in members(bed):
        member.create()
        member.start()
        if member.index == 0:
            member.space.run(["ovn-nbctl", "set", "NB_Global", ".", NORTHD_PROBE])
            listen = f"ptcp:{layout.SB_PORT}:0.0.0.0"
            member.space.run(
                ["ovn-sbctl", f"--inactivity-probe={SB_PROBE}", "set-connection", listen]
            )


def members(bed: Bed) -> list[Member]:
    """Return the members of a bed that is up."""
    return [Member(i, Space.load(bed.name, layout.member(i))) for i in range(COUNT)]


def remotes(bed: Bed) -> str:
    """Return the northbound cluster's remotes for a client on this machine."""
    return ",".join(member.remote for member in members(bed))


def leader(bed: Bed, short: str = "nb") -> Member:
    """Wait until a member leads, and return it."""

    def look() -> Member | None:
        return next((member for member in members(bed) if member.leads(short)), None)

    return wait_for(look, f"a leader of {NAMES[short]}")


def _file(short: str) -> str:
    return f"{STATE}/ovn{short}_db.db"


def _address(index: int) -> str:
    return layout.member_ip(index)


def _peer(short: str, index: int) -> str:
    return f"tcp:{_address(index)}:{PORTS[short][1]}"


def _clients(short: str) -> str:
    return ",".join(f"tcp:{_address(index)}:{PORTS[short][0]}" for index in range(COUNT))
