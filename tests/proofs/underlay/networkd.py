"""A node that systemd-networkd configures: by a static address, and by a lease.

The packaged networkd, without an init and without a bus. It sets everything on the NIC again when
it starts, when its file has changed, when the carrier is back and at each renewal.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial

from kit import dhcp
from proofs.underlay import leases
from proofs.underlay.leases import Leased
from proofs.underlay.moves import MOVED_WITHIN, STAYS, Proof
from proofs.underlay.node import INTERVAL, NIC, Uplinked
from proofs.underlay.rows import Row, soon
from testbed import layout
from testbed.service import Service, wait_for

Change = Callable[[], object]
# What the bed's node has by hand otherwise.
_ROUTE = f"[Route]\nDestination=10.99.0.0/16\nGateway={layout.CONTROL_IP}\nTable=100\nMetric=5"
_RULE = f"[RoutingPolicyRule]\nIncomingInterface={NIC}\nTable=100\nPriority=50"
STATIC = f"[Network]\nAddress={layout.node_ip(0)}/24\nGateway={layout.CONTROL_IP}"
DHCP = "[Network]\nDHCP=ipv4"


class Networkd(Leased):
    """The node with systemd-networkd instead of its static address."""

    def __init__(self, node: Uplinked, network: str) -> None:
        super().__init__(node, "networkd")
        self.sections = (network, _ROUTE, _RULE)
        self.metric = "metric 1024" if network == DHCP else ""

    def _command(self) -> list[str]:
        return dhcp.networkd(NIC, self.home, *self.sections)

    def _arrived(self) -> None:
        """Wait until it has set the address and both routes: it takes away those of others."""
        words = ["ip", "-4", "route", "show", "table", "all", "dev", NIC]

        def look() -> bool:
            shown = self.node.node.result(words).stdout
            return "default via" in shown and "10.99.0.0/16" in shown

        wait_for(look, "the routes of networkd", MOVED_WITHIN)

    def again(self, number: signal.Signals) -> None:
        """End it by a signal, and start it again."""
        assert self._client is not None
        self._client.stop(number)
        self._client = self.node.node.spawn(self.name, self._command())

    def reload(self) -> None:
        """Change its file, and have it read that."""
        assert self._client is not None
        more = f"# {time.monotonic()}"
        dhcp.configure(self.home, f"[Match]\nName={NIC}", *self.sections, more)
        self._client.send(signal.SIGHUP)

    def carrier(self) -> None:
        """Take the carrier away from the NIC for a second."""
        for state in ("down", "up"):
            self.node.outside.run(["ip", "link", "set", self.node.node.role, state])
            time.sleep(1)

    def times(self) -> int:
        """Return how often the address was set on the NIC since `ip monitor` was started."""
        lines = self.node.node.log("monitor").read_text().splitlines()
        return sum(f" {NIC} " in each and not each.startswith("Deleted") for each in lines)


def run(node: Uplinked, seed: int) -> list[Row]:
    """Try a static address, a lease, and a lease whose gateway changes; return the rows."""
    monitor = node.node.spawn("monitor", ["ip", "-4", "-o", "monitor", "address"])
    rows = leases.tried(Networkd(node, STATIC), seed, _static)
    server = leases.serve(node)
    rows += leases.tried(Networkd(node, DHCP), seed, _leased)
    server.stop()
    first = leases.serve(node, layout.CONTROL_IP, leases.SOON)
    rows += leases.tried(Networkd(node, DHCP), seed, partial(_gateway, first))
    monitor.stop()
    return rows


def _static(proof: Proof, leased: Leased) -> None:
    """Have it set its static address again in each way that it does."""
    assert isinstance(leased, Networkd)
    proof.first_move()
    proof.rows[-1].name = "first move of an address that networkd has set"
    restart, events = partial(leased.again, signal.SIGUSR2), proof.node.events
    _set_again(proof, leased, "networkd restarted, with a static address", restart)
    told = lambda: any(f"{NIC} address" in text for _, text in events("NetworkRepaired"))  # noqa: E731
    proof.rows[-1].ok &= soon(told, "the Event of the address", MOVED_WITHIN)
    _set_again(proof, leased, "networkd reads another file", leased.reload)
    _set_again(proof, leased, "the carrier goes and comes, under networkd", leased.carrier, 2.0)


def _leased(proof: Proof, leased: Leased) -> None:
    """Have it renew its lease, or not, and ask for it again."""
    assert isinstance(leased, Networkd)
    leases.follows(proof, leased)
    proof.move_again()
    # By systemd's signal for a restart it keeps its lease; when it is stopped it releases that.
    restart, stop = (partial(leased.again, each) for each in (signal.SIGUSR2, signal.SIGTERM))
    _set_again(proof, leased, "networkd restarted, with a lease", restart)
    _set_again(proof, leased, "networkd stopped, which releases its lease, and started", stop)


def _gateway(server: Service, proof: Proof, leased: Leased) -> None:
    """Let a renewal give another gateway; networkd's route to that gateway itself stays."""
    leases.changed(server, proof, leased)
    link = f"proto dhcp scope link src {layout.node_ip(0)} {leased.metric}"
    proof.on_nic["nic"] = sorted([*proof.on_nic["nic"], f"{leases.ANOTHER} {link}"])


def _set_again(
    proof: Proof, host: Networkd, name: str, change: Change, outage: float = 0.1
) -> None:
    """Have networkd set its address on the NIC again: it moves once more, and that is all.

    The control is the same without an agent.
    """
    node, row = proof.node, proof.row(name)
    with node.pinging() as counted:
        before = host.times()
        change()
        row.ok = soon(lambda: host.times() > before, "the address on the NIC", MOVED_WITHIN)
        began = time.monotonic()
        row.ok &= soon(proof.moved, name, MOVED_WITHIN)
        row.seconds = round(time.monotonic() - began, 2)
        time.sleep(STAYS)
        row.ok &= proof.moved() and host.times() == before + 1
    row.lost = counted["lost"]
    row.ok &= 0 <= row.lost * INTERVAL <= outage
    node.kill()
    before = host.times()
    change()
    row.ok &= soon(lambda: host.times() > before, "the address without an agent", MOVED_WITHIN)
    time.sleep(STAYS)
    row.control_broken = not proof.moved()
    node.start()
    row.ok &= soon(proof.moved, f"{name}, found by a restart", MOVED_WITHIN)
