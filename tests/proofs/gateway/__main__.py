"""`python -m proofs.gateway`: every condition of a gateway by traffic into build/gateway.json."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from proofs.gateway import firewalls, services
from proofs.gateway.cluster import OUTSIDE, Cluster, gateway
from proofs.gateway.conditions import Condition, every
from proofs.gateway.row import Row
from testbed import progress
from testbed.service import BedError, wait_for

BUILD = Path(__file__).resolve().parents[3] / "build"
WITHIN, REPAIRED_WITHIN, STAYS = 10.0, 5.0, 0.5  # seconds


def main() -> int:
    """Run every condition; return 0 if all hold, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.gateway")
    parser.add_argument("--slice", action="store_true", help="the conditions that CI runs")
    parser.add_argument("--only", default="", help="conditions whose name contains this")
    chosen = parser.parse_args()
    conditions = [
        each for each in every() if (each.slice or not chosen.slice) and chosen.only in each.name
    ]
    rows = [Row(each.name, f"IPv{each.family}") for each in conditions]
    with gateway() as cluster:
        services.make(cluster)
        of_firewalls = [] if chosen.slice else firewalls.rows(cluster, chosen.only)
        with progress.step(f"{len(rows)} conditions: seen, broken, repaired"):
            for condition, row in zip(conditions, rows, strict=True):
                _try(cluster, condition, row)
        with progress.step(f"{len(rows)} conditions: broken without an agent"):
            _control(cluster, conditions, rows)
    rows += of_firewalls
    BUILD.mkdir(exist_ok=True)
    (BUILD / "gateway.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    for row in rows:
        time_of = f"{row.repaired_ms:.0f} ms" if row.repaired_ms is not None else "never"
        seen = f"{row.family} {row.condition}: {row.seen}, repaired {time_of}"
        progress.say(f"{'   ' if row.holds else 'NOT'} {seen}, control {row.control_broken}")
    return 0 if all(row.holds for row in rows) else 1


def _expected(cluster: Cluster, condition: Condition) -> str:
    """Return what should be seen; of a pod, its own address."""
    kind, _, name = condition.expected.partition("pod ")
    return cluster.pods[name].ips[condition.family] if name and not kind else condition.expected


def _try(cluster: Cluster, condition: Condition, row: Row) -> None:
    """Look, break it, and wait until it is seen again."""
    expected = _expected(cluster, condition)

    def holds() -> bool:
        row.seen = condition.look(cluster)
        return row.seen == expected

    def holds_soon(within: float) -> bool:
        try:
            return wait_for(holds, condition.name, within)
        except BedError:
            return False

    row.ok = holds_soon(WITHIN)
    if not row.ok:
        progress.say(f"    {condition.name}, {row.family}: seen {row.seen!r}, not {expected!r}")
        return
    if not _broken(cluster, condition):
        return
    began = time.monotonic()
    row.repaired = holds_soon(REPAIRED_WITHIN)
    row.repaired_ms = round((time.monotonic() - began) * 1000, 1) if row.repaired else None


def _broken(cluster: Cluster, condition: Condition) -> bool:
    """Break it; return whether the tool succeeded."""
    done = cluster.node.result(["sh", "-euc", condition.breaks])
    if done.returncode:
        progress.say(f"    {condition.breaks}: {done.stderr.strip()}")
    return done.returncode == 0


def _control(cluster: Cluster, conditions: list[Condition], rows: list[Row]) -> None:
    """Without an agent, break each condition for itself: it stays broken."""
    cluster.kill()
    cluster.node.sh(
        "nft list table inet ovnlet >/tmp/gateway.nft; iptables-save >/tmp/gateway.4;"
        " ip6tables-save >/tmp/gateway.6"
    )
    restore = "nft delete table inet ovnlet; nft -f /tmp/gateway.nft"
    firewall = "iptables-restore </tmp/gateway.4; ip6tables-restore </tmp/gateway.6"
    routing = ""
    for family, source in cluster.pods["eeeee"].ips.items():
        ip, via = f"ip -{family}", OUTSIDE[family]
        routing += f"{ip} rule del pref 3000; {ip} route flush table 1001;"
        routing += f"{ip} rule add from {source} lookup 1001 pref 3000;"
        routing += f"{ip} route add default via {via} dev eth0 table 1001;"
    for condition, row in zip(conditions, rows, strict=True):
        expected = _expected(cluster, condition)
        if not row.ok:
            continue
        stands = condition.look(cluster) == expected
        stands &= _broken(cluster, condition)
        time.sleep(STAYS)
        seen = condition.look(cluster)
        row.control_broken = stands and seen != expected
        if not row.control_broken:
            progress.say(f"    control, {condition.name}: {stands}, then seen {seen!r}")
        tool = condition.breaks.partition(" ")[0]
        own = {"nft": restore, "ip": routing}.get(tool, firewall)
        cluster.node.result(["sh", "-c", own])


if __name__ == "__main__":
    sys.exit(main())
