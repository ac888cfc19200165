"""Whose port is to be looked at after a change of a row: its mark, empty if it has none, and its name."""

from collections.abc import Iterator
from typing import Any

from ovnlet.core.resources.ovs import MARK, OWNED_IDS
from ovnlet.drivers.ovs import qos_rows
from ovnlet.drivers.ovs.installed import INSTALLED
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Row

LINK = ("type", "mac", "mtu_request")


def of(
    switch: VswitchIndex, table: str, _: str, old: Row | None, new: Row | None
) -> Iterator[tuple[str, str]]:
    rows = [row for row in (old, new) if row is not None]
    if table == "Port":
        yield from _of(switch, *rows)
    elif table in qos_rows.TABLES:
        yield from ((row["external_ids"].get(MARK, ""), "") for row in rows)
    elif table == "Interface" and _compared(old) != _compared(new):
        yield from _of(switch, *rows)
        for claimed in {row["external_ids"].get("iface-id", "") for row in rows}:
            yield from ((switch.owner(name) or "", name) for name in switch.claimants(claimed))
    elif table == "Bridge":
        moved = (old["ports"] if old else frozenset()) ^ (new["ports"] if new else frozenset())
        yield from _of(switch, *(row for port in moved if (row := switch.row("Port", port))))


def _of(switch: VswitchIndex, *rows: Row) -> Iterator[tuple[str, str]]:
    for row in rows:
        yield row["external_ids"].get(MARK) or switch.owner(row["name"]) or "", row["name"]


def _compared(row: Row | None) -> Any:
    """What of an Interface a look compares."""
    if row is None:
        return None
    labels = {k: v for k, v in row["external_ids"].items() if k in OWNED_IDS or k == INSTALLED}
    return row["name"], labels, [row[column] for column in (*LINK, *qos_rows.POLICING)]
