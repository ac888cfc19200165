"""A node whose only address is a lease: Debian's DHCP clients on the NIC, dnsmasq as their server.

``move`` and ``removal`` of the other parts are of static addresses; here each row has a client that
goes on running on the NIC while its address is on the bridge.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kit import dhcp
from proofs.underlay.moves import MOVED_WITHIN, STAYS, Proof
from proofs.underlay.node import BRIDGE, INTERVAL, NIC, Uplinked
from proofs.underlay.rows import Row, soon
from testbed import layout, progress
from testbed.service import Service, wait_for

# Seconds: a client renews at half of its lease; a lease that is nearly over, and its way back.
RENEWED_WITHIN, LAST, ENDED_WITHIN = dhcp.SHORTEST * 0.75, 96, 110.0
# How long a client that fights is left to fight.
FIGHTS = 60.0


# A second router, and the seconds after which a client renews then: longer than a fight is.
ANOTHER, SOON = "172.30.0.253", "--dhcp-option=option:T1,20"
# What Red Hat's script of dhclient does, and Debian's does not.
_HOOK = """make_resolv_conf() {
  case "$reason" in RENEW|REBIND) ip route replace default via $new_routers dev $interface;; esac
}
"""


class Leased:
    """The node with a client instead of its static address. ``hook`` is a part of its script."""

    # What iproute2 shows between the address and its scope.
    metric = ""

    def __init__(self, node: Uplinked, name: str, hook: str = "") -> None:
        self.node, self.name, self.hook = node, name, hook
        self._client: Service | None = None

    def start(self) -> None:
        """Start the client on a NIC without an address, and wait until it has set its own.

        dhclient's script fails where the address is there, and leaves it its old lifetime.
        """
        self.node.node.sh(f"ip -4 address flush dev {NIC}")
        self._client = self.node.node.spawn(self.name, self._command())
        self._arrived()

    @property
    def home(self) -> Path:
        """The directory of the client's files."""
        return self.node.node.directory / "dhcp" / self.name

    def _command(self) -> list[str]:
        """Return the client's command."""
        command = dhcp.client(self.name, NIC, self.home)
        (self.home / "hooks" / "routes").write_text(self.hook)
        return command

    def _arrived(self) -> None:
        """Wait until the NIC has its address, and give it its routes."""
        wait_for(lambda: self.left(NIC) > 0, f"a lease by {self.name}", MOVED_WITHIN)
        self._route()

    def _route(self) -> None:
        """Set the routes by hand that the kernel has flushed with the last address."""
        self.node.node.sh(
            f"ip route replace default via {layout.CONTROL_IP} dev {NIC};"
            f"ip route replace 10.99.0.0/16 via {layout.CONTROL_IP} dev {NIC} table 100 metric 5"
        )

    def kill(self) -> None:
        """End the client at once: it gives nothing back."""
        if self._client is not None:
            self._client.stop(signal.SIGKILL)
            self._client = None

    def left(self, link: str) -> int:
        """Return the seconds that the address is valid on a link; 0 without it."""
        shown = self.node.node.result(["ip", "-4", "-o", "address", "show", "dev", link]).stdout
        found = re.search(rf" {layout.node_ip(0)}/24 .*valid_lft (\d+)sec", shown)
        return int(found[1]) if found else 0

    def until(self) -> float:
        """Return when the address on the bridge ends, by the monotonic clock."""
        return time.monotonic() + self.left(BRIDGE)

    def shorten(self, seconds: int) -> None:
        """Leave so much of the lease on the bridge."""
        change = f"ip address change {layout.node_ip(0)}/24 {self.metric} dev {BRIDGE}"
        self.node.node.sh(f"{change} valid_lft {seconds} preferred_lft {seconds}")

    def end(self) -> None:
        """Give the node its static address again."""
        self.kill()
        address = f"{layout.node_ip(0)}/24 dev {NIC}"
        self.node.node.sh(f"ip -4 address flush dev {NIC}; ip address add {address}")
        self._route()


def run(node: Uplinked, seed: int) -> list[Row]:
    """Try a client that lets its address move, and one that does not; return the rows."""
    rows: list[Row] = []
    server = serve(node)
    for name, tries in (("dhclient", follows), ("dhcpcd", _fights)):
        rows += tried(Leased(node, name), seed, tries)
    server.stop()
    return rows + another_gateway(node, seed)


def another_gateway(node: Uplinked, seed: int) -> list[Row]:
    """Try a renewal by which the node's gateway is another one; return the row."""
    first = serve(node, layout.CONTROL_IP, SOON)
    return tried(Leased(node, "dhclient", _HOOK), seed, partial(changed, first))


def tried(leased: Leased, seed: int, tries: Callable[[Proof, Leased], None]) -> list[Row]:
    """Try something with a client that has its lease, and take the move back; return the rows."""
    node = leased.node
    node.kill()
    leased.start()
    proof = Proof(node, seed)
    node.start()
    try:
        tries(proof, leased)
        proof.take_back()
    except Exception as error:  # noqa: BLE001 - the other client is tried
        proof.row(repr(error))
    leased.end()
    return proof.rows


def changed(server: Service, proof: Proof, leased: Leased) -> None:
    """Let a renewal replace the gateway: only the new one is left, and nothing is lost.

    The control is the same without an agent: the route is on the NIC, where nothing is answered.
    """
    node, router = proof.node, proof.node.outside
    proof.edit()
    wait_for(node.is_settled, "the move", MOVED_WITHIN)
    row = proof.row(f"a lease of {leased.name} whose renewal gives another gateway")
    router.sh(f"ip address add {ANOTHER}/24 dev underlay")
    with node.pinging() as counted:
        server.stop()
        server = serve(node, ANOTHER, SOON)
        began = time.monotonic()
        row.ok = _has_gateway(node, BRIDGE, ANOTHER, RENEWED_WITHIN)
        row.seconds = round(time.monotonic() - began, 2)
    row.lost = counted["lost"]
    row.ok &= 0 <= row.lost * INTERVAL <= 0.1
    node.kill()
    server.stop()
    server = serve(node, layout.CONTROL_IP, SOON)
    on_nic = ["default", "via", layout.CONTROL_IP, "dev", NIC]
    renewed = lambda: on_nic in _gateways(node)  # noqa: E731
    row.control_broken = soon(renewed, "the gateway on the NIC", RENEWED_WITHIN)
    node.start()
    row.ok &= _has_gateway(node, BRIDGE, layout.CONTROL_IP, MOVED_WITHIN)
    server.stop()
    router.sh(f"ip address del {ANOTHER}/24 dev underlay")


def _has_gateway(node: Uplinked, link: str, gateway: str, within: float) -> bool:
    """Return whether this becomes the node's only default route within some seconds."""

    def look() -> bool:
        return _gateways(node) == [["default", "via", gateway, "dev", link]]

    return soon(look, f"only a default route via {gateway} by {link}", within)


def _gateways(node: Uplinked) -> list[list[str]]:
    """Return the first five words of each default route of IPv4."""
    shown = node.node.result(["ip", "-4", "route", "show", "default"]).stdout
    return [line.split()[:5] for line in shown.splitlines()]


def serve(node: Uplinked, router: str = layout.CONTROL_IP, *more: str) -> Service:
    """Start the server on the bridge of the uplinks. It knows the node by its MAC."""
    mac = node.node.sh(f"cat /sys/class/net/{NIC}/address").strip()
    address = layout.node_ip(0)
    home = node.outside.directory
    words = dhcp.server("underlay", f"{address},{address}", router, home)
    return node.outside.spawn("dnsmasq", [*words, f"--dhcp-host={mac},{address}", *more])


def follows(proof: Proof, leased: Leased) -> None:
    """Let a client renew a lease that moved, then not; the control is the same without an agent."""
    node = proof.node
    proof.first_move()
    proof.rows[-1].name = f"first move of a node with a lease of {leased.name}"
    _renewed(proof, leased)
    _not_renewed(proof, leased)
    leased.start()
    proof.edit()
    wait_for(proof.moved, "the move with a new lease", MOVED_WITHIN)
    node.kill()
    renewed, ended = proof.rows[-2], proof.rows[-1]
    on_nic = soon(lambda: leased.left(NIC) > 0, "a renewal without an agent", RENEWED_WITHIN)
    renewed.control_broken = on_nic and not proof.moved()
    node.start()
    renewed.ok &= soon(proof.moved, "a renewal, found by a restart", MOVED_WITHIN)
    node.kill()
    leased.kill()
    # What is left of the lease passes: the kernel removes the address then.
    leased.shorten(2)
    time.sleep(2 + STAYS)
    ended.control_broken = not node.reaches(layout.CONTROL_IP)
    leased.start()
    node.start()
    wait_for(lambda: proof.moved() or proof.back(), "a good state", MOVED_WITHIN)


def _renewed(proof: Proof, leased: Leased) -> None:
    """Wait for a renewal: the bridge has the new lifetime, and the NIC nothing, without a loss."""
    row = proof.row(f"a lease that {leased.name} renews on the NIC")
    with proof.node.pinging() as counted:
        before = leased.until()
        found = soon(lambda: leased.until() > before + 5, "a renewal", RENEWED_WITHIN)
        began = time.monotonic()
        row.ok = soon(proof.moved, "the NIC without its address", MOVED_WITHIN) and found
        row.seconds = round(time.monotonic() - began, 2)
        time.sleep(STAYS)
        row.ok &= proof.moved()
    row.lost = counted["lost"]
    row.ok &= row.lost is not None and 0 <= row.lost * INTERVAL <= 0.1
    row.ok &= any(NIC in text for _, text in proof.node.events("UplinkLeased"))


def _not_renewed(proof: Proof, leased: Leased) -> None:
    """End the client: before its lease ends all is on the NIC, which a client could use again.

    To save time most of the lease is taken away by hand.
    """
    row = proof.row(f"a lease of {leased.name} that nobody renews")
    leased.kill()
    leased.shorten(LAST)
    with proof.node.pinging() as counted:
        began = time.monotonic()
        row.ok = soon(proof.node.is_held, "the way back", ENDED_WITHIN)
        left = leased.left(NIC)
        row.ok &= left > 0 and proof.back()
        row.seconds = round(time.monotonic() - began, 2)
    row.lost = counted["lost"]
    row.ok &= soon(lambda: "was not renewed" in proof.node.told(), "the reason", MOVED_WITHIN)
    progress.say(f"    back with {left} s of the lease left")


def _fights(proof: Proof, leased: Leased) -> None:
    """Let dhcpcd set its address again each time: the NIC has it for good, and that is told.

    The control: an agent that ends amid the fight leaves the node between the two states.
    """
    row = proof.row("a lease that dhcpcd sets again each time")
    proof.edit()
    wait_for(proof.node.is_settled, "the move", MOVED_WITHIN)
    proof.node.kill()
    fights = soon(lambda: leased.left(NIC) > 0, "the address on the NIC again", FIGHTS)
    row.control_broken = fights and not proof.moved() and not proof.back()
    proof.node.start()
    with proof.node.pinging() as counted:
        began = time.monotonic()
        row.ok = soon(lambda: proof.node.is_held() and proof.back(), "the way back", FIGHTS)
        row.seconds = round(time.monotonic() - began, 2)
        time.sleep(STAYS)
        row.ok &= proof.back()
    row.lost = counted["lost"]
    row.ok &= soon(lambda: "again each time" in proof.node.told(), "the reason", MOVED_WITHIN)
