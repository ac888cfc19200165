"""Steps as OVSDB operations, against the rows as they are when the transaction is built.

Columns that are maps are written key by key, and only our keys: ovn-controller and other clients
keep theirs in the same maps.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from ovnlet.core.errors import NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import DuplicateIfaceId, OvsPolicing, OvsQos, Port
from ovnlet.core.resources.ovs import MARK, OWNED_IDS
from ovnlet.drivers.ovs import qos_rows
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.encoding import (
    encode_map,
    encode_row,
    encode_set,
    named_reference,
    reference,
    where_name,
    where_uuid,
)
from ovnlet.drivers.ovsdb.replica import Op

_REMOTE = "ovn-bridge-remote"
# The keys of Open_vSwitch.external_ids that make this node a chassis of OVN. Without `hostname`,
# which OVS's own start script writes, OVN takes the kernel's host name, and ports that ask for the
# Node's name are not bound.
CHASSIS_IDS = frozenset(
    {
        "system-id",
        "hostname",
        "ovn-remote",
        "ovn-encap-type",
        "ovn-encap-ip",
        "ovn-encap-ip-default",
        "ovn-bridge-datapath-type",
        _REMOTE,
    }
)
# Numbers for `uuid-name`s, which must be unique within a transaction that several callers share.
_ROW_NUMBERS = count(1)


def ops(steps: Sequence[Step], index: VswitchIndex) -> list[Op]:
    """Return the operations of these steps; none for what is right already.

    A port that an earlier step removes is inserted again, although the index still has its row.
    Raise NotReady if a new port's bridge does not exist yet, NodeFault if OVSDB cannot hold a text.
    """
    result: list[Op] = []
    removed: set[str] = set()
    for step in steps:
        match step:
            case Step(Verb.ENSURE, Port() as port):
                exists = index.port(port.name) is not None and port.name not in removed
                result += _update(port, index) if exists else _insert(port, index)
            case Step(Verb.REMOVE, Port() as port):
                result += _remove(port, index)
                removed.add(port.name)
            case Step(Verb.REMOVE, DuplicateIfaceId() as duplicate):
                pair = encode_map({"iface-id": duplicate.iface_id})
                result.append(
                    _mutate("Interface", duplicate.interface, [["external_ids", "delete", pair]])
                )
            case Step(Verb.ENSURE, OvsQos() | OvsPolicing() as limit):
                result += qos_rows.ensure(limit, index)
            case Step(Verb.REMOVE, OvsQos() | OvsPolicing() as limit):
                result += qos_rows.remove(limit, index)
            case _:
                raise TypeError(f"not a step for OVS: {step}")
    return result


def uninstalled(steps: Sequence[Step]) -> Iterator[str]:
    """Yield the names of the ports of which a step repairs a lost `ovn-installed`."""
    for step in steps:
        if step.verb is Verb.ENSURE and isinstance(step.was, Port) and step.was.uninstalled:
            yield step.was.name


def blocked(steps: Sequence[Step]) -> Iterator[str]:
    """Yield the ports whose OpenFlow flags stop traffic and are to be cleared."""
    for step in steps:
        if step.verb is Verb.ENSURE and isinstance(step.was, Port) and step.was.blocked:
            yield step.was.name


def chassis(
    external_ids: Mapping[str, str], bridge: str, datapath_type: str, index: VswitchIndex
) -> list[Op]:
    """Return the operations that set the missing chassis keys, and create or correct the bridge.

    ``datapath_type`` is empty for the kernel's datapath. The bridge is set to fail mode `secure`,
    so that ovs-vswitchd adds no flows of its own while ovn-controller is away.
    """
    result = root_ids(external_ids, index)
    wanted = {"datapath_type": datapath_type, "fail_mode": "secure"}
    present = index.bridge(bridge)
    if present is None:
        result += _insert_bridge(bridge, wanted)
    elif any(present[column] != value for column, value in wanted.items()):
        result.append(
            {"op": "update", "table": "Bridge", "where": where_name(bridge), "row": wanted}
        )
    return result


def root_ids(external_ids: Mapping[str, str], index: VswitchIndex) -> list[Op]:
    """Return the operations that set these keys of the root row, and leave all others alone."""
    root = index.root()
    if root is None:  # a new conf.db, without the row that `ovs-vsctl init` inserts
        row = encode_row({"external_ids": external_ids})
        return [{"op": "insert", "table": "Open_vSwitch", "row": row}]
    mutations = _mutations(root[1]["external_ids"], external_ids, frozenset(external_ids))
    if not mutations:
        return []
    return [{"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations}]


def toggle_remote(bridge: str, index: VswitchIndex) -> list[Op]:
    """Return the operations that write the path of the bridge's control socket in the other form.

    To a remote of another text ovn-controller connects at once (OVN 24.09); both forms name the
    same socket. There are none if another client has configured a remote of its own.
    """
    root = index.root()
    now = root[1]["external_ids"].get(_REMOTE, "") if root else ""
    one, other = f"unix:{bridge}.mgmt", f"unix:./{bridge}.mgmt"
    if now not in ("", one, other):
        return []
    new = encode_map({_REMOTE: other if now == one else one})
    changes = [["external_ids", "delete", encode_set([_REMOTE])], ["external_ids", "insert", new]]
    return [{"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": changes}]


def _insert_bridge(name: str, columns: Mapping[str, str]) -> list[Op]:
    """Return the operations that insert a bridge and its local port.

    The local port has the bridge's name and is internal. ovs-vswitchd makes its link.
    """
    interface, port, bridge = (f"row{next(_ROW_NUMBERS)}" for _ in range(3))
    local = {"name": name, "type": "internal"}
    ports = {"name": name, "interfaces": named_reference(interface)}
    bridges = {**columns, "name": name, "ports": named_reference(port)}
    return [
        {"op": "insert", "table": "Interface", "uuid-name": interface, "row": local},
        {"op": "insert", "table": "Port", "uuid-name": port, "row": ports},
        {"op": "insert", "table": "Bridge", "uuid-name": bridge, "row": bridges},
        {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["bridges", "insert", named_reference(bridge)]],
        },
    ]


def _insert(port: Port, index: VswitchIndex) -> list[Op]:
    """Return the operations that insert the port's rows.

    Guards make the transaction fail if, at the commit, the bridge is gone or the name is in use.
    """
    if index.bridge(port.bridge) is None:
        raise NotReady(
            f"OVS has no bridge {port.bridge}: ovn-controller makes it once it runs and "
            "external_ids:ovn-remote of Open_vSwitch is set"
        )
    interface, row = f"row{next(_ROW_NUMBERS)}", f"row{next(_ROW_NUMBERS)}"
    mark = {key: value for key, value in port.external_ids if key == MARK}
    interfaces = encode_row({"name": port.name, "external_ids": port.ids, **_link(port)})
    ports = encode_row(
        {"name": port.name, "interfaces": named_reference(interface), "external_ids": mark}
    )
    return [
        _guard("Bridge", port.bridge, [{"name": port.bridge}]),
        _guard("Port", port.name, []),
        {"op": "insert", "table": "Interface", "uuid-name": interface, "row": interfaces},
        {"op": "insert", "table": "Port", "uuid-name": row, "row": ports},
        _mutate("Bridge", port.bridge, [["ports", "insert", named_reference(row)]]),
    ]


def _update(port: Port, index: VswitchIndex) -> list[Op]:
    """Return the operations that correct our labels, and an internal port's link columns."""
    present, interface = index.port(port.name), index.interface(port.name)
    mark = {key: value for key, value in port.external_ids if key == MARK}
    result: list[Op] = []
    if present and (changes := _mutations(present[1]["external_ids"], mark, frozenset({MARK}))):
        result.append(_mutate("Port", port.name, changes))
    if not interface:
        return result
    if changes := _mutations(interface["external_ids"], port.ids, OWNED_IDS):
        result.append(_mutate("Interface", port.name, changes))
    link = {column: value for column, value in _link(port).items() if interface[column] != value}
    if link:
        where = where_name(port.name)
        result.append(
            {"op": "update", "table": "Interface", "where": where, "row": encode_row(link)}
        )
    return result


def _link(port: Port) -> dict[str, Any]:
    """Return the columns from which ovs-vswitchd makes an internal port's link; else none."""
    return {"type": "internal", "mac": port.mac, "mtu_request": port.mtu} if port.internal else {}


def _remove(port: Port, index: VswitchIndex) -> list[Op]:
    """Return the operations that delete a port and its rows; none if it is on another bridge now.

    The next reconcile pass handles a port that has moved. ovsdb-server would collect the rows at
    the commit, but until then they would occupy the name for a successor in the same transaction.
    """
    present = index.port(port.name)
    if present is None or index.bridge_of(port.name) != port.bridge:
        return []
    uuid, row = present
    return [
        _mutate("Bridge", port.bridge, [["ports", "delete", reference(uuid)]]),
        *(
            {"op": "delete", "table": "Interface", "where": where_uuid(interface)}
            for interface in sorted(row["interfaces"])
        ),
        {"op": "delete", "table": "Port", "where": where_uuid(uuid)},
        *qos_rows.remove_with_port(port.name, index),
    ]


def _mutations(
    present: Mapping[str, str], wanted: Mapping[str, str], owned: frozenset[str]
) -> list[Any]:
    """Return the mutations of external_ids for the owned keys that differ.

    An insert does not overwrite a key (RFC 7047, section 5.1), so the old value is deleted first.
    """
    stale = sorted(key for key in owned & present.keys() if present[key] != wanted.get(key))
    new = {key: value for key, value in wanted.items() if present.get(key) != value}
    return [
        *([["external_ids", "delete", encode_set(stale)]] if stale else []),
        *([["external_ids", "insert", encode_map(new)]] if new else []),
    ]


def _mutate(table: str, name: str, mutations: list[Any]) -> Op:
    return {"op": "mutate", "table": table, "where": where_name(name), "mutations": mutations}


def _guard(table: str, name: str, rows: list[Any]) -> Op:
    """Return a `wait` that fails at once unless the table has exactly these rows of this name."""
    return {
        "op": "wait",
        "table": table,
        "where": where_name(name),
        "columns": ["name"],
        "until": "==",
        "rows": rows,
        "timeout": 0,
    }
