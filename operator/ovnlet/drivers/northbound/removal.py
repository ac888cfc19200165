"""Removal of everything of ours from the northbound database, whatever table it is in.

It needs no running controller: rows are found by their mark, in every table of the server's schema.
The group of load balancers, which can have no mark, is found by its name.
"""

import time
from collections.abc import Iterator
from typing import Any

from ovs import poller
from ovs.db import idl
from ovsdbapp.backend.ovs_idl import idlutils

from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.resources.northbound import GROUP, MARK
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.streams import prepare

_DATABASE = "OVN_Northbound"
_MAP = "external_ids"
_GROUPS = "Load_Balancer_Group"
# The columns by which a switch or router contains rows. OVSDB deletes these together with it.
_CONTAINED = ("ports",)


def remove_rows(settings: ControllerSettings, timeout: float) -> list[str]:
    """Delete our rows in one transaction, and return what was deleted, as text.

    This blocks. Raise Taken, and delete nothing, if a switch or router of ours has a port of
    somebody else; NotReady if the database does not answer within ``timeout`` seconds or refuses.
    """
    deadline = time.monotonic() + timeout
    prepare(settings)
    try:
        helper = idlutils.get_schema_helper(settings.ovn_nb, _DATABASE)
    except Exception as error:  # the library raises plain exceptions for its own reasons
        raise NotReady(f"the northbound database {settings.ovn_nb}: {error}") from error
    for name, table in helper.schema_json["tables"].items():
        wanted = {_MAP, "name", *_CONTAINED} & table["columns"].keys()
        if _MAP in wanted or name == _GROUPS:
            helper.register_columns(name, sorted(wanted))
    database = idl.Idl(settings.ovn_nb, helper)
    try:
        _load(database, deadline, settings.ovn_nb)
        _refuse_foreign_ports(database)
        return _delete(database)
    finally:
        database.close()


def _load(database: Any, deadline: float, remote: str) -> None:
    """Wait until the database's content is here. Raise NotReady after the deadline."""
    while not database.has_ever_connected():
        database.run()
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotReady(f"the northbound database {remote} does not answer")
        waiting = poller.Poller()
        database.wait(waiting)
        waiting.timer_wait(int(min(left, 1.0) * 1000))
        waiting.block()


def _ours(database: Any) -> Iterator[tuple[str, Any]]:
    """Yield our rows, each with its table's name."""
    for name, table in database.tables.items():
        for row in table.rows.values():
            if row.name == GROUP if name == _GROUPS else MARK in row.external_ids:
                yield name, row


def _refuse_foreign_ports(database: Any) -> None:
    """Raise Taken if a row that OVSDB would delete together with ours is not ours."""
    for table, row in _ours(database):
        for column in _CONTAINED:
            for port in getattr(row, column, ()):
                if MARK not in port.external_ids:
                    raise Taken(
                        f"{table} {row.name} has the port {port.name}, which is not ours: "
                        "remove that first"
                    )


def _delete(database: Any) -> list[str]:
    """Delete our rows, and our keys from the rows of others. Raise NotReady if it is refused."""
    change = idl.Transaction(database)
    done = []
    for table, row in list(_ours(database)):
        # Rows of the other tables go with the row that refers to them.
        if database.tables[table].is_root:
            done.append(f"{table} {getattr(row, 'name', row.uuid)}")
            row.delete()
    for row in database.tables["NB_Global"].rows.values():
        for key in [each for each in row.external_ids if each.startswith(MARK)]:
            row.delkey(_MAP, key)
            done.append(f"NB_Global {_MAP}:{key}")
    status = change.commit_block()
    if status not in (idl.Transaction.SUCCESS, idl.Transaction.UNCHANGED):
        raise NotReady(f"the northbound database refused: {change.get_error() or status}")
    return done
