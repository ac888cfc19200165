"""The ports to check after a change of rows."""

from collections.abc import Iterator
from typing import Any

from ovnlet.core.resources.ovs import MARK, OWNED_IDS
from ovnlet.drivers.ovs import qos_rows
from ovnlet.drivers.ovs.installed import INSTALLED
from ovnlet.drivers.ovs.operations import CHASSIS_IDS
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Row

LINK = ("type", "mac", "mtu_request")


def hints_of(
    index: VswitchIndex, table: str, _: str, old: Row | None, new: Row | None
) -> Iterator[tuple[str, str]]:
    """Yield the mark and the name of each port that a changed row affects.

    The mark is empty if the port has none. The name is empty if only the mark is known. An
    Interface counts only if a compared column changed: its other columns change all the time.
    """
    rows = [row for row in (old, new) if row is not None]
    if table == "Port":
        yield from _ports(index, *rows)
    elif table in qos_rows.TABLES:
        yield from ((row["external_ids"].get(MARK, ""), "") for row in rows)
    elif table == "Interface" and _compared(old) != _compared(new):
        yield from _ports(index, *rows)
        for iface_id in {row["external_ids"].get("iface-id", "") for row in rows}:
            yield from ((index.owner(name) or "", name) for name in index.with_iface_id(iface_id))
    elif table == "Bridge":
        moved = (old["ports"] if old else frozenset()) ^ (new["ports"] if new else frozenset())
        yield from _ports(index, *(row for port in moved if (row := index.row("Port", port))))


def affects_all(bridge: str, table: str, old: Row | None, new: Row | None) -> bool:
    """Return whether a changed row affects every port.

    That is a change of the chassis keys, or of the integration bridge itself but for its ports.
    """
    if table == "Open_vSwitch":
        ids = [chassis_ids(row) if row else None for row in (old, new)]
        return ids[0] != ids[1]
    if table != "Bridge" or bridge not in {row["name"] for row in (old, new) if row}:
        return False
    before, after = ({**row, "ports": None} if row else None for row in (old, new))
    return before != after


def chassis_ids(root: Row) -> dict[str, str]:
    """Return the chassis keys that the Open_vSwitch row has."""
    return {k: v for k, v in root["external_ids"].items() if k in CHASSIS_IDS}


def _ports(index: VswitchIndex, *rows: Row) -> Iterator[tuple[str, str]]:
    for row in rows:
        yield row["external_ids"].get(MARK) or index.owner(row["name"]) or "", row["name"]


def _compared(row: Row | None) -> Any:
    """Return what `Ovs.observe` compares of an Interface."""
    if row is None:
        return None
    labels = {k: v for k, v in row["external_ids"].items() if k in OWNED_IDS or k == INSTALLED}
    return row["name"], labels, [row[column] for column in (*LINK, *qos_rows.POLICING)]
