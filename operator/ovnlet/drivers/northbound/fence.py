"""The fence: the term of the leader in the database, and the check of it in each transaction.

A Lease alone does not keep two replicas from writing: a leader that was suspended writes until it
looks at its Lease again. So the leader writes the number of its term, which it has won with the
Lease, to the database. Every transaction of its begins with a `wait` for that very number, which
the server compares in the same transaction (RFC 7047, section 5.2.6). Locks of OVSDB do not serve:
each server of a cluster has its own (ovsdb-server(7), "Clustered Database Service Model").
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ovnlet.drivers.ovsdb.encoding import encode_map, encode_set, where_uuid
from ovnlet.drivers.ovsdb.replica import Op

TABLE, COLUMN, KEY = "NB_Global", "external_ids", "ovnlet-term"
TABLES: Mapping[str, tuple[str, ...]] = {TABLE: (COLUMN,)}


class Term(Protocol):
    """The term that a replica has won with the Lease."""

    @property
    def number(self) -> int:
        """The number. That of a later term is greater, also of another replica."""

    async def advance(self, least: int, /) -> int:
        """Raise the number to at least ``least``, and return it.

        Raise TermEnded if this replica does not hold the Lease, or whatever the write raises.
        """


class Rows(Protocol):
    """The part of the database that a claim needs."""

    @property
    def rows(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """The columns by table and UUID."""

    async def transact(self, ops: Sequence[Op], /) -> list[dict[str, Any]]:
        """Commit one transaction, or raise Refused or Disconnected."""


async def claim(database: Rows, term: Term) -> list[Op]:
    """Write the term to the database, and return the operations that check it.

    A number that is there already and not less belongs to a later leader, or to a Lease that was
    deleted since. The Lease decides which: its number is raised above, as only its holder can.
    Raise what ``term`` raises, Refused if another client wrote first, or Disconnected if nobody
    knows the outcome.
    """
    row_id = next(iter(database.rows[TABLE]), None)
    held = database.rows[TABLE][row_id][COLUMN] if row_id is not None else {}
    text = held.get(KEY, "")
    last = int(text) if text.isdecimal() else 0
    number = term.number if term.number > last else await term.advance(last + 1)
    await database.transact(_write(row_id, held, {KEY: str(number)}))
    return [_check(number)]


def _write(row_id: str | None, held: Mapping[str, str], term: Mapping[str, str]) -> list[Op]:
    """Return the write of the term, which fails if the row is not as it was read."""
    if row_id is None:  # ovn-northd inserts the row too; there can be one only
        return [{"op": "insert", "table": TABLE, "row": {COLUMN: encode_map(term)}}]
    here = {"table": TABLE, "where": where_uuid(row_id)}
    as_read = {"columns": [COLUMN], "until": "==", "rows": [{COLUMN: encode_map(held)}]}
    mutations = [[COLUMN, "delete", encode_set([KEY])], [COLUMN, "insert", encode_map(term)]]
    return [
        {"op": "wait", "timeout": 0, **here, **as_read},
        {"op": "mutate", **here, "mutations": mutations},
    ]


def _check(number: int) -> Op:
    """Return the operation that fails unless the database has this number."""
    where = [[COLUMN, "includes", encode_map({KEY: str(number)})]]
    there = {"columns": [COLUMN], "until": "!=", "rows": []}
    return {"op": "wait", "timeout": 0, "table": TABLE, "where": where, **there}
