"""Decode rows of the northbound database to values, and encode steps as OVSDB operations.

Operations are those of RFC 7047, section 5.2. What a row should be may not go in.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import northbound as nb
from ovnlet.core.resources.northbound import (
    MARK,
    Policy,
    Router,
    RouterPort,
    Row,
    StaticRoute,
    Switch,
    SwitchPort,
)
from ovnlet.drivers.ovsdb.encoding import encode_map, encode_row, encode_set
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.replica import Row as Columns

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"
ROUTER, ROUTER_PORT = "Logical_Router", "Logical_Router_Port"
# The columns of each table that the controller reads.
TABLES: Mapping[str, tuple[str, ...]] = {
    ROUTER: ("name", "ports", "static_routes", "policies", "external_ids"),
    ROUTER_PORT: ("name", "mac", "networks", "external_ids"),
    "Logical_Router_Static_Route": ("ip_prefix", "nexthop", "external_ids"),
    "Logical_Router_Policy": ("priority", "match", "action", "nexthops", "external_ids"),
    SWITCH: ("name", "ports", "other_config", "external_ids"),
    PORT: (
        "name",
        "type",
        "addresses",
        "dynamic_addresses",
        "port_security",
        "enabled",
        "options",
        "external_ids",
    ),
}
TABLE_OF: Mapping[type[Row], str] = {
    Router: ROUTER,
    RouterPort: ROUTER_PORT,
    StaticRoute: "Logical_Router_Static_Route",
    Policy: "Logical_Router_Policy",
    Switch: SWITCH,
    SwitchPort: PORT,
}
# For a row that belongs to another: the parent's table, and its column of references.
PARENT: Mapping[type[Row], tuple[str, str]] = {
    RouterPort: (ROUTER, "ports"),
    StaticRoute: (ROUTER, "static_routes"),
    Policy: (ROUTER, "policies"),
    SwitchPort: (SWITCH, "ports"),
}
_MARKED = {MARK: "ovnlet"}


def is_ours(columns: Columns) -> bool:
    """Return whether the row has ovnlet's mark."""
    return MARK in columns["external_ids"]


def read(table: str, parent: str, columns: Columns) -> Row:
    """Return a row's value, as far as it is compared. ``parent`` is the parent's name."""
    match table:
        case "Logical_Router":
            return Router(columns["name"])
        case "Logical_Router_Port":
            return RouterPort(parent, columns["name"], columns["mac"], columns["networks"])
        case "Logical_Router_Static_Route":
            return StaticRoute(parent, columns["ip_prefix"], columns["nexthop"])
        case "Logical_Router_Policy":
            return Policy(
                parent,
                columns["priority"],
                columns["match"],
                columns["action"],
                columns["nexthops"],
            )
        case "Logical_Switch":
            return Switch(columns["name"], _only(columns["other_config"], nb.SWITCH_CONFIG))
        case _:
            return SwitchPort(
                parent,
                columns["name"],
                addresses=" ".join(sorted(columns["addresses"])),
                port_security=" ".join(sorted(columns["port_security"])),
                type=columns["type"],
                enabled=columns["enabled"] is not False,
                options=_only(columns["options"], nb.PORT_OPTIONS),
                labels=_only(columns["external_ids"], nb.PORT_LABELS),
            )


def ops(
    step: Step[Row], uuid: str | None, parent: str | None, named: str, guard: str | None
) -> Iterator[Op]:
    """Yield the operations that carry out a step.

    ``uuid`` is the row's, or None if there is none; ``parent`` is its parent's, or None if the same
    transaction makes the parent. ``named`` is a name for a new row within the transaction.
    ``guard`` is OVN's answer that a port is pinned to: if the row has another one by then, the
    transaction fails.
    """
    resource = step.resource
    table = TABLE_OF[type(resource)]
    if step.verb is Verb.REMOVE:
        if uuid is not None:
            yield from _remove(resource, table, uuid, parent)
    elif uuid is None:
        yield from _insert(resource, table, parent, named)
    else:
        where = [["_uuid", "==", ["uuid", uuid]]]
        if guard is not None:
            rows = [{"dynamic_addresses": guard}]
            columns = ["dynamic_addresses"]
            yield {
                "op": "wait",
                "table": table,
                "where": where,
                "columns": columns,
                "until": "==",
                "rows": rows,
            } | {"timeout": 0}
        yield from _update(resource, table, where)


def _remove(resource: Row, table: str, uuid: str, parent: str | None) -> Iterator[Op]:
    """Yield the removal of a row.

    For a row with a parent, remove the parent's reference: the server deletes a row that nothing
    refers to. A switch or a router is a root, and is deleted itself.
    """
    if type(resource) not in PARENT:
        yield {"op": "delete", "table": table, "where": [["_uuid", "==", ["uuid", uuid]]]}
    elif parent is not None:
        yield _refer(resource, parent, "delete", ["uuid", uuid])


def _insert(resource: Row, table: str, parent: str | None, named: str) -> Iterator[Op]:
    columns: dict[str, Any] = {"external_ids": encode_map(_MARKED), **_columns(resource)}
    for name, (value, _) in _maps(resource).items():
        columns[name] = encode_map(value)
    if isinstance(resource, Router | Switch | RouterPort | SwitchPort):
        columns["name"] = resource.name
    if isinstance(resource, Router | Switch):  # the schema allows two rows with one name
        none_yet = {
            "op": "wait",
            "table": table,
            "where": [["name", "==", resource.name]],
            "timeout": 0,
        }
        yield none_yet | {"columns": ["name"], "until": "==", "rows": []}
    yield {"op": "insert", "table": table, "uuid-name": named, "row": encode_row(columns)}
    if type(resource) in PARENT:
        # A parent made in the same transaction has no UUID yet, only a name.
        reference = (
            ["uuid", parent] if parent is not None else ["named-uuid", parent_name(resource)]
        )
        yield _refer(resource, reference, "insert", ["named-uuid", named])


def _update(resource: Row, table: str, where: list[Any]) -> Iterator[Op]:
    """Yield the update of a row. Of a column that is a map, write only the keys that are ours."""
    if columns := _columns(resource):
        yield {"op": "update", "table": table, "where": where, "row": encode_row(columns)}
    for name, (value, owned) in _maps(resource).items():
        mutations = [[name, "delete", encode_set(owned)], [name, "insert", encode_map(value)]]
        yield {"op": "mutate", "table": table, "where": where, "mutations": mutations}


def parent_name(resource: Row) -> str:
    """Return the name, within a transaction, of the parent that the same transaction makes."""
    return new_name(resource.within or ())


def new_name(key: tuple[object, ...]) -> str:
    """Return a name for a new row within a transaction.

    OVSDB allows letters, digits and underscores in it (RFC 7047, section 3.1), so every other
    character is encoded.
    """
    return "row_" + "".join(
        c if c.isalnum() and c.isascii() else f"_{ord(c):x}_" for c in "/".join(map(str, key))
    )


def _refer(resource: Row, parent: Any, verb: str, reference: list[str]) -> Op:
    """Return the mutation of the parent's references; ``verb`` is insert or delete."""
    table, column = PARENT[type(resource)]
    where = [["_uuid", "==", parent if isinstance(parent, list) else ["uuid", parent]]]
    return {
        "op": "mutate",
        "table": table,
        "where": where,
        "mutations": [[column, verb, encode_set([reference])]],
    }


def _columns(resource: Row) -> dict[str, Any]:
    """Return the columns that are ours as a whole, in OVSDB's notation."""
    match resource:
        case RouterPort(mac=mac, networks=networks):
            return {"mac": mac, "networks": encode_set(networks)}
        case StaticRoute(prefix=prefix, nexthop=nexthop):
            return {"ip_prefix": prefix, "nexthop": nexthop}
        case Policy(priority=priority, match=match, action=action, nexthops=nexthops):
            return {
                "priority": priority,
                "match": match,
                "action": action,
                "nexthops": encode_set(nexthops),
            }
        case SwitchPort(addresses=addresses, port_security=security, type=kind, enabled=enabled):
            allowed = encode_set({security} if security else ())
            return {
                "addresses": encode_set({addresses}),
                "port_security": allowed,
                "type": kind,
                "enabled": enabled,
            }
        case Router() | Switch():
            return {}


def _maps(resource: Row) -> dict[str, tuple[dict[str, str], frozenset[str]]]:
    """Return the columns that are maps: our part of the value, and the keys that are ours."""
    match resource:
        case Switch(config=config):
            return {"other_config": (dict(config), nb.SWITCH_CONFIG)}
        case SwitchPort(options=options, labels=labels):
            return {
                "options": (dict(options), nb.PORT_OPTIONS),
                "external_ids": (dict(labels), nb.PORT_LABELS),
            }
        case _:
            return {}


def _only(value: Mapping[str, str], owned: frozenset[str]) -> nb.Pairs:
    return frozenset((name, text) for name, text in value.items() if name in owned)
