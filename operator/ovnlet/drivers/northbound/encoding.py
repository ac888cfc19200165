"""Decode rows of the northbound database to values, and encode steps as OVSDB operations.

Operations are those of RFC 7047, section 5.2. What a row should be may not go in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import northbound as nb
from ovnlet.core.resources.northbound import (
    MARK,
    LoadBalancer,
    LoadBalancerGroup,
    Policy,
    Router,
    RouterPort,
    Row,
    StaticRoute,
    Switch,
    SwitchPort,
)
from ovnlet.drivers.northbound.schema import GROUP, PARENT, SWITCH, TABLE_OF
from ovnlet.drivers.ovsdb.encoding import encode_map, encode_row, encode_set
from ovnlet.drivers.ovsdb.replica import Op
from ovnlet.drivers.ovsdb.replica import Row as Columns

_MARKED = {MARK: "ovnlet"}


def is_ours(columns: Columns) -> bool:
    """Return whether the row has ovnlet's mark. A group, which can have none, has our name."""
    if "external_ids" not in columns:
        return bool(columns["name"] == nb.GROUP)
    return MARK in columns["external_ids"]


def read(table: str, parent: str, columns: Columns, *, grouped: bool = False) -> Row:
    """Return a row's value, as far as it is compared. ``parent`` is the parent's name.

    ``grouped`` is whether our group has the load balancer, or the switch our group.
    """
    match table:
        case "Load_Balancer_Group" | "Load_Balancer" | "Logical_Switch":
            return _read_balanced(table, columns, grouped)
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
        case _:
            return SwitchPort(
                parent,
                columns["name"],
                addresses=" ".join(sorted(columns["addresses"])),
                port_security=" ".join(sorted(columns["port_security"])),
                type=columns["type"],
                enabled=columns["enabled"] is not False,
                tag=columns["tag"] or 0,
                options=_only(columns["options"], nb.PORT_OPTIONS),
                labels=_only(columns["external_ids"], nb.PORT_LABELS),
            )


def _read_balanced(table: str, columns: Columns, grouped: bool) -> Row:
    match table:
        case "Load_Balancer_Group":
            return LoadBalancerGroup(columns["name"])
        case "Load_Balancer":
            return LoadBalancer(
                columns["name"],
                columns["protocol"] or "tcp",
                frozenset(columns["vips"].items()),
                _only(columns["options"], nb.BALANCER_OPTIONS),
                _only(columns["external_ids"], nb.BALANCER_LABELS),
                grouped,
            )
        case _:
            config = _only(columns["other_config"], nb.SWITCH_CONFIG)
            return Switch(columns["name"], config, grouped)


@dataclass(frozen=True, slots=True)
class Target:
    """The row of a step, by UUIDs.

    ``uuid`` is the row's, or None if there is none; ``parent`` is its parent's, or None if the same
    transaction makes the parent. ``named`` is a name for a new row within the transaction.
    ``group`` is our group of load balancers, None if there is none.
    """

    uuid: str | None
    parent: str | None
    named: str
    group: str | None


def ops(step: Step[Row], target: Target, guard: str | None) -> Iterator[Op]:
    """Yield the operations that carry out a step.

    ``guard`` is OVN's answer that a port is pinned to: if the row has another one by then, the
    transaction fails.
    """
    resource, uuid, parent = step.resource, target.uuid, target.parent
    table = TABLE_OF[type(resource)]
    if step.verb is Verb.REMOVE:
        if uuid is not None:
            yield from _remove(resource, table, uuid, parent)
    elif uuid is None:
        yield from _insert(resource, table, parent, target.named)
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
    if step.verb is Verb.ENSURE and target.group is not None:
        row = ["uuid", uuid] if uuid else ["named-uuid", target.named]
        yield from _join(resource, row, target.group)


def _remove(resource: Row, table: str, uuid: str, parent: str | None) -> Iterator[Op]:
    """Yield the removal of a row.

    For a row with a parent, remove the parent's reference: the server deletes a row that nothing
    refers to. A switch or a router is a root, and is deleted itself.
    """
    if type(resource) not in PARENT:
        yield {"op": "delete", "table": table, "where": [["_uuid", "==", ["uuid", uuid]]]}
    elif parent is not None:
        yield _refer(resource, parent, "delete", ["uuid", uuid])


def _join(resource: Row, row: list[str], group: str) -> Iterator[Op]:
    """Yield the reference between our group of load balancers and the row."""
    if isinstance(resource, LoadBalancer):
        yield _mutation(GROUP, ["uuid", group], "load_balancer", resource.grouped, row)
    elif isinstance(resource, Switch):
        yield _mutation(SWITCH, row, "load_balancer_group", resource.balanced, ["uuid", group])


def _insert(resource: Row, table: str, parent: str | None, named: str) -> Iterator[Op]:
    columns: dict[str, Any] = {"external_ids": encode_map(_MARKED), **_columns(resource)}
    for name, (value, _) in _maps(resource).items():
        columns[name] = encode_map(value)
    if isinstance(resource, LoadBalancerGroup):
        columns = {}
    if not isinstance(resource, StaticRoute | Policy):
        columns["name"] = resource.name
    # The schema allows two rows with one name.
    if isinstance(resource, Router | Switch | LoadBalancer):
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
    row = parent if isinstance(parent, list) else ["uuid", parent]
    return _mutation(table, row, column, verb == "insert", reference)


def _mutation(table: str, row: list[str], column: str, insert: bool, reference: list[str]) -> Op:
    """Return the operation that adds a reference to a column of a row, or deletes it there."""
    return {
        "op": "mutate",
        "table": table,
        "where": [["_uuid", "==", row]],
        "mutations": [[column, "insert" if insert else "delete", encode_set([reference])]],
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
        case SwitchPort(addresses=addresses, port_security=security, type=kind, enabled=on):
            allowed = encode_set({security} if security else ())
            return {
                "addresses": encode_set({addresses}),
                "port_security": allowed,
                "type": kind,
                "enabled": on,
                "tag": encode_set({resource.tag} if resource.tag else ()),
            }
        case LoadBalancer(protocol=protocol, vips=vips):
            return {"protocol": protocol, "vips": encode_map(dict(vips))}
        case Router() | Switch() | LoadBalancerGroup():
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
        case LoadBalancer(options=options, labels=labels):
            return {
                "options": (dict(options), nb.BALANCER_OPTIONS),
                "external_ids": (dict(labels), nb.BALANCER_LABELS),
            }
        case _:
            return {}


def _only(value: Mapping[str, str], owned: frozenset[str]) -> nb.Pairs:
    return frozenset((name, text) for name, text in value.items() if name in owned)
