"""Indexes over the rows of the northbound database: by name, by switch and by address.

They are updated with each change of a row, so that no question needs to search a table.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.claims import bound
from ovnlet.drivers.northbound.encoding import is_ours
from ovnlet.drivers.northbound.schema import GROUP, PORT, SWITCH
from ovnlet.drivers.ovsdb.replica import Row as Columns


class RowIndex:
    """The UUIDs of named rows, the switch of each port, and the ports that have each address."""

    def __init__(self) -> None:
        # By table and name, the oldest known row first: some tables allow two rows of one name.
        self._uuids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._switches: dict[str, str] = {}  # the name of a port's switch, by the port's UUID
        # The names of ports by address or MAC.
        self._holders: defaultdict[str, set[str]] = defaultdict(set)

    def uuid(self, table: str, name: str) -> str | None:
        """Return the UUID of the row with that name, or None if there is none."""
        return next(iter(self._uuids.get((table, name), ())), None)

    def switch_of(self, port: str) -> str:
        """Return the name of the switch of the port with that UUID, or "" if it is unknown."""
        return self._switches.get(port, "")

    def holder(self, address: Address | str, except_port: str) -> str | None:
        """Return the name of a port with that address or MAC, or None. Skip ``except_port``."""
        names = self._holders.get(str(address), ())
        return next((name for name in names if name != except_port), None)

    def update(self, table: str, uuid: str, old: Columns | None, new: Columns | None) -> None:
        """Take in one change of a row. ``old`` is None for a new row, ``new`` for a deleted one.

        A switch must be taken in before its ports.
        """
        self._update_name(table, uuid, old, new)
        if table == SWITCH and new is not None:
            same_name = old is not None and old["name"] == new["name"]
            for port in new["ports"] - (old["ports"] if old and same_name else frozenset()):
                self._switches[port] = new["name"]
        if table == PORT:
            self._update_holders(old, new)
            if new is None:
                self._switches.pop(uuid, None)

    def _update_name(self, table: str, uuid: str, old: Columns | None, new: Columns | None) -> None:
        before, after = ((row or {}).get("name") for row in (old, new))
        if before == after:
            return
        if before is not None:
            uuids = self._uuids[table, before]
            uuids.remove(uuid)
            if not uuids:
                del self._uuids[table, before]
        if after is not None:
            self._uuids[table, after].append(uuid)

    def _update_holders(self, old: Columns | None, new: Columns | None) -> None:
        for row, add in ((old, False), (new, True)):
            for address in addresses_of(row) if row is not None else ():
                names = self._holders[address]
                if add:
                    names.add(row["name"])  # type: ignore[index]
                else:
                    names.discard(row["name"])  # type: ignore[index]
                if not names:
                    del self._holders[address]


def addresses_of(row: Columns) -> Iterator[str]:
    """Yield the MAC and the IP addresses that a port has, from its configuration or from OVN."""
    for text in (*row["addresses"], row["dynamic_addresses"] or ""):
        if binding := bound(text):
            yield binding.mac
            yield from map(str, binding.addresses)


def same_but_ports(old: Columns, new: Columns) -> bool:
    """Return whether two versions of a switch differ in their ports alone."""
    return all(old[name] == new[name] for name in old if name != "ports")


def balanced_service(row: Columns) -> str:
    """Return the Service of a load balancer of ours, as `namespace/name`."""
    return str(row["external_ids"].get("ovnlet-service", ""))


def changed_services(
    table: str, old: Columns | None, new: Columns | None, balancers: Mapping[str, Columns]
) -> set[str]:
    """Return the Services of a changed load balancer, or of those that a group gained or lost.

    ``balancers`` are the load balancers by UUID.
    """
    if table == GROUP:
        before, after = (row["load_balancer"] if row else frozenset() for row in (old, new))
        rows = [balancers[uuid] for uuid in before ^ after if uuid in balancers]
    else:
        rows = [row for row in (old, new) if row is not None]
    return {balanced_service(row) for row in rows if is_ours(row)}
