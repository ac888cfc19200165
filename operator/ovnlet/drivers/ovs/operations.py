"""From steps to OVSDB operations, against the rows as they are when the transaction is built."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from ovnlet.core.errors import NodeFault, NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import DuplicateIfaceId, OvsPolicing, OvsQos, Port
from ovnlet.core.resources.ovs import MARK, OWNED_IDS
from ovnlet.drivers.ovs import qos_rows
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Op

_REMOTE = "ovn-bridge-remote"
# OVN's own keys of this node, in Open_vSwitch.external_ids.
CHASSIS_IDS = frozenset(
    {
        "system-id",
        "ovn-remote",
        "ovn-encap-type",
        "ovn-encap-ip",
        "ovn-bridge-datapath-type",
        _REMOTE,
    }
)
_NAMES = count(1)  # of rows within their transaction; several callers' operations share one


def ops(steps: Sequence[Step], switch: VswitchIndex) -> list[Op]:
    """The operations of these steps; none for what is so already."""
    result: list[Op] = []
    gone: set[str] = set()
    for step in steps:
        match step:
            case Step(Verb.ENSURE, Port() as port):
                there = switch.port(port.name) is not None and port.name not in gone
                result += _relabel(port, switch) if there else _insert(port, switch)
            case Step(Verb.REMOVE, Port() as port):
                result += _remove(port, switch)
                gone.add(port.name)
            case Step(Verb.REMOVE, DuplicateIfaceId() as claim):
                pair = ["map", [["iface-id", claim.iface_id]]]
                result.append(
                    _mutate("Interface", claim.interface, [["external_ids", "delete", pair]])
                )
            case Step(Verb.ENSURE, OvsQos() | OvsPolicing() as limit):
                result += qos_rows.ensure(limit, switch)
            case Step(Verb.REMOVE, OvsQos() | OvsPolicing() as limit):
                result += qos_rows.remove(limit, switch)
            case _:
                raise TypeError(f"not a step of OVS: {step}")
    return result


def chassis(
    external_ids: Mapping[str, str], bridge: str, datapath_type: str, switch: VswitchIndex
) -> list[Op]:
    """What OVN's chassis keys and the integration bridge lack."""
    result: list[Op] = []
    root = switch.root()
    if root is None:  # a new conf.db, without the row that `ovs-vsctl init` makes
        result.append(
            {"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": _map(external_ids)}}
        )
    elif mutations := _mutations(root[1]["external_ids"], external_ids, frozenset(external_ids)):
        result.append(
            {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations}
        )
    wanted = {"datapath_type": datapath_type, "fail_mode": "secure"}
    there = switch.bridge(bridge)
    if there is None:
        result += _insert_bridge(bridge, wanted)
    elif any(there[column] != value for column, value in wanted.items()):
        result.append(
            {"op": "update", "table": "Bridge", "where": [["name", "==", bridge]], "row": wanted}
        )
    return result


def respell_remote(bridge: str, switch: VswitchIndex) -> list[Op]:
    """Name the bridge's control socket in other words: to another one ovn-controller connects at once (OVN 24.09).

    Nothing, where somebody has named a socket of his own.
    """
    root = switch.root()
    now = root[1]["external_ids"].get(_REMOTE, "") if root else ""
    one, other = f"unix:{bridge}.mgmt", f"unix:./{bridge}.mgmt"
    if now not in ("", one, other):
        return []
    new = _map({_REMOTE: other if now == one else one})
    changes = [["external_ids", "delete", ["set", [_REMOTE]]], ["external_ids", "insert", new]]
    return [{"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": changes}]


def _insert_bridge(name: str, columns: Mapping[str, str]) -> list[Op]:
    """A bridge and its local port."""
    interface, port, bridge = (f"row{next(_NAMES)}" for _ in range(3))
    local = {"name": name, "type": "internal"}
    ports = {**columns, "name": name, "ports": ["named-uuid", port]}
    return [
        {"op": "insert", "table": "Interface", "uuid-name": interface, "row": local},
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": port,
            "row": {"name": name, "interfaces": _named(interface)},
        },
        {"op": "insert", "table": "Bridge", "uuid-name": bridge, "row": ports},
        {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["bridges", "insert", _named(bridge)]],
        },
    ]


def _insert(port: Port, switch: VswitchIndex) -> list[Op]:
    """New rows, if the bridge is there and the name is free at the moment of the commit."""
    if switch.bridge(port.bridge) is None:
        raise NotReady(f"OVS has no bridge {port.bridge} yet")
    interface, row = f"row{next(_NAMES)}", f"row{next(_NAMES)}"
    mark = {key: value for key, value in port.external_ids if key == MARK}
    labels = {"name": port.name, "external_ids": _map(port.ids), **_link(port)}
    columns = {"name": port.name, "interfaces": _named(interface), "external_ids": _map(mark)}
    return [
        _guard("Bridge", port.bridge, [{"name": port.bridge}]),
        _guard("Port", port.name, []),
        {"op": "insert", "table": "Interface", "uuid-name": interface, "row": labels},
        {"op": "insert", "table": "Port", "uuid-name": row, "row": columns},
        _mutate("Bridge", port.bridge, [["ports", "insert", _named(row)]]),
    ]


def _relabel(port: Port, switch: VswitchIndex) -> list[Op]:
    there, interface = switch.port(port.name), switch.interface(port.name)
    mark = {key: value for key, value in port.external_ids if key == MARK}
    changes = {
        "Port": _mutations(there[1]["external_ids"], mark, frozenset({MARK})) if there else [],
        "Interface": _mutations(interface["external_ids"], port.ids, OWNED_IDS)
        if interface
        else [],
    }
    link = {
        column: value
        for column, value in _link(port).items()
        if interface and interface[column] != value
    }
    update = {
        "op": "update",
        "table": "Interface",
        "where": [["name", "==", port.name]],
        "row": link,
    }
    return [
        *(
            _mutate(table, port.name, mutations)
            for table, mutations in changes.items()
            if mutations
        ),
        *([update] if link else []),
    ]


def _link(port: Port) -> dict[str, Any]:
    """What ovs-vswitchd makes an internal port's link of; of any other port nothing."""
    return {"type": "internal", "mac": port.mac, "mtu_request": port.mtu} if port.internal else {}


def _remove(port: Port, switch: VswitchIndex) -> list[Op]:
    """Off its bridge and out of the database; rows of a port that moved meanwhile are left for the next look.

    Its rows would be collected at the commit, but until then their name is taken for a successor in the same
    transaction.
    """
    there = switch.port(port.name)
    if there is None or switch.bridge_of(port.name) != port.bridge:
        return []
    uuid, row = there
    return [
        _mutate("Bridge", port.bridge, [["ports", "delete", ["uuid", uuid]]]),
        *(
            {"op": "delete", "table": "Interface", "where": _is(interface)}
            for interface in sorted(row["interfaces"])
        ),
        {"op": "delete", "table": "Port", "where": _is(uuid)},
        *qos_rows.forget(port.name, switch),
    ]


def _mutations(
    present: Mapping[str, str], wanted: Mapping[str, str], owned: frozenset[str]
) -> list[Any]:
    """Of the owned keys, only those that differ. An insert does not overwrite, so the old value goes first."""
    stale = sorted(key for key in owned & present.keys() if present[key] != wanted.get(key))
    new = {key: value for key, value in wanted.items() if present.get(key) != value}
    return [
        *([["external_ids", "delete", ["set", stale]]] if stale else []),
        *([["external_ids", "insert", _map(new)]] if new else []),
    ]


def _mutate(table: str, name: str, mutations: list[Any]) -> Op:
    return {"op": "mutate", "table": table, "where": [["name", "==", name]], "mutations": mutations}


def _guard(table: str, name: str, rows: list[Any]) -> Op:
    where = [["name", "==", name]]
    return {
        "op": "wait", "table": table, "where": where, "columns": ["name"], "until": "==", "rows": rows, "timeout": 0
    }  # fmt: skip


def _named(row: str) -> list[str]:
    return ["named-uuid", row]


def _is(uuid: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", uuid]]]


def _map(values: Mapping[str, str]) -> list[Any]:
    for value in values.values():
        # ovsdb-server does not refuse these, it hangs up; nobody's transaction would get through.
        if "\0" in value or value.encode(errors="ignore").decode() != value:
            raise NodeFault(f"OVSDB cannot hold the text {value!r}")
    return ["map", sorted(values.items())]
