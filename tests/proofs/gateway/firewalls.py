"""Firewalls as Debian packages them, beside the agent: each reload takes our accepts along.

They run in the node's namespaces, on its own copies of /etc, /var and /run. Each is set up as its
users set it up, in the way in which a reload clears chains that it does not own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from proofs.gateway.cluster import OUTSIDE, Cluster
from proofs.gateway.conditions import node_ip
from proofs.gateway.row import Row
from testbed import progress
from testbed.service import BedError, wait_for

# Seconds. A reload takes up to two of them.
WITHIN, REPAIRED_WITHIN, STAYS = 20.0, 10.0, 0.5
_LEGACY = "iptables-legacy ip6tables-legacy"
# It clears its chains and then deletes them, by one program after the other. Where our repair comes
# in between, it fails and has to be called again.
_UFW_RELOAD = "for n in 1 2 3 4 5; do ufw reload && break; sleep 0.5; done"


@dataclass(frozen=True, slots=True)
class Firewall:
    """Shell lines on the node. ``shows`` prints the rules that are the firewall's own."""

    name: str
    starts: str
    reloads: str
    shows: str
    stops: str


FIREWALLS = (
    Firewall(
        "ufw with MANAGE_BUILTINS=yes",
        "sed -i 's/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=yes/; s/^IPT_MODULES=.*/IPT_MODULES=/'"
        f" /etc/default/ufw; ufw --force enable || :; {_UFW_RELOAD}",
        _UFW_RELOAD,
        "for t in iptables ip6tables; do $t -S | grep -e ufw -e ^-P; done",
        "ufw --force disable",
    ),
    Firewall(
        "firewalld with a direct rule, ovn0 in its zone trusted",
        "mkdir -p /run/dbus; dbus-daemon --system --fork; firewalld;"
        " until firewall-cmd --state; do sleep 0.1; done;"
        " firewall-cmd --permanent --zone=trusted --add-interface=ovn0;"
        " for v in ipv4 ipv6; do firewall-cmd --permanent --direct"
        " --add-rule $v filter INPUT 9 -p tcp --dport 9 -j ACCEPT; done; firewall-cmd --reload",
        "firewall-cmd --reload",
        "nft --stateless list table inet firewalld;"
        " for t in iptables ip6tables; do $t -S INPUT | grep 'dport 9 '; done",
        "p=$(cat /run/firewalld.pid); kill $p; while kill -0 $p; do sleep 0.1; done;"
        " kill $(cat /run/dbus/pid)",
    ),
    Firewall(
        "iptables-legacy and iptables-nft with policy DROP, a script that clears both",
        f"for t in {_LEGACY}; do $t -w -P FORWARD DROP; done",
        f"for t in {_LEGACY} iptables-nft ip6tables-nft; do $t -w -F FORWARD; done",
        f"for t in {_LEGACY}; do $t -w -S | grep -v ovnlet; done",
        f"for t in {_LEGACY}; do $t -w -P FORWARD ACCEPT; $t -w -F; done",
    ),
)


def rows(cluster: Cluster, only: str) -> list[Row]:
    """Try each firewall whose condition contains ``only``, and return a row for each family."""
    found: list[Row] = []
    for each in FIREWALLS:
        if only in f"{each.name}: reload":
            with progress.step(each.name):
                found += _rows(cluster, each)
    return found


def _rows(cluster: Cluster, firewall: Firewall) -> Iterator[Row]:
    # As Docker does. What one firewall leaves when it stops is not the next one's.
    cluster.node.sh("for t in iptables ip6tables; do $t -P FORWARD DROP; done")
    cluster.node.sh(firewall.starts)
    made = {family: Row(f"{firewall.name}: reload", f"IPv{family}") for family in OUTSIDE}
    try:
        for family, row in made.items():
            _try(cluster, firewall, family, row)
        cluster.kill()
        for family, row in made.items():
            row.control_broken = row.ok and _breaks(cluster, firewall, family)
    finally:
        cluster.start()
        cluster.node.sh(firewall.stops)
    for row in made.values():
        seen = f"{row.seen}, repaired {row.repaired_ms} ms, others whole {row.others_whole}"
        progress.say(f"    {row.family}: {seen}, control {row.control_broken}")
        yield row


def _seen(cluster: Cluster, family: int) -> str:
    return cluster.pods["a"].sees(OUTSIDE[family])


def _holds(cluster: Cluster, family: int, row: Row, within: float) -> bool:
    def holds() -> bool:
        row.seen = _seen(cluster, family)
        return row.seen == node_ip(family)

    try:
        return wait_for(holds, row.condition, within)
    except BedError:
        return False


def _try(cluster: Cluster, firewall: Firewall, family: int, row: Row) -> None:
    """Look, reload, and wait until it is seen again and the firewall's rules are as before."""
    row.ok = _holds(cluster, family, row, WITHIN)
    whole = cluster.node.sh(firewall.shows)
    cluster.node.sh(firewall.reloads)
    began = time.monotonic()
    row.repaired = row.ok and _holds(cluster, family, row, REPAIRED_WITHIN)
    row.repaired_ms = round((time.monotonic() - began) * 1000, 1) if row.repaired else None
    row.others_whole = cluster.node.sh(firewall.shows) == whole


def _breaks(cluster: Cluster, firewall: Firewall, family: int) -> bool:
    """Without an agent, reload; return whether it stays broken. Then put the accepts back."""
    tools = f"iptables ip6tables {_LEGACY}"  # where there is no table of a kind, none is saved
    cluster.node.sh(f"for t in {tools}; do $t-save >/run/$t.all; done")
    stands = _seen(cluster, family) == node_ip(family)
    cluster.node.sh(firewall.reloads)
    time.sleep(STAYS)
    broken = _seen(cluster, family) != node_ip(family)
    cluster.node.sh(f"for t in {tools}; do $t-restore </run/$t.all; done")
    if not (stands and broken):
        progress.say(f"    control, {firewall.name}: {stands}, then broken {broken}")
    return stands and broken
