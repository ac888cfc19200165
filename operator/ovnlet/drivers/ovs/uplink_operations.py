"""Steps on an uplink as OVSDB operations, against the rows as they are when it is built."""

from collections.abc import Iterator, Mapping
from typing import Any

from ovnlet.core.errors import NotReady
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import NetworkMapping, UplinkBridge, UplinkPort
from ovnlet.drivers.ovsdb.encoding import (
    encode_map,
    encode_row,
    encode_set,
    named_reference,
    reference,
    where_name,
    where_uuid,
)
from ovnlet.drivers.ovsdb.replica import Op, Row

# Our key of a bridge's and an uplink's external_ids: the provider network. The vendor is a label of
# Kube-OVN's contract, by which its tools know such a bridge.
MARK, VENDOR = "ovnlet-provider-network", "kube-ovn"
Rows = Mapping[str, Mapping[str, Row]]


def ops(step: Step, rows: Rows) -> list[Op]:
    """Return the operations of a step; none for what is right already. Raise NotReady."""
    ensures = step.verb is Verb.ENSURE
    match step.resource:
        case UplinkBridge() as bridge:
            uuid = _find(rows, "Bridge", bridge.name)
            if ensures:
                return _update_bridge(bridge, rows["Bridge"][uuid]) if uuid else _insert(bridge)
            return _remove_bridge(uuid, rows["Bridge"][uuid]) if uuid else []
        case UplinkPort() as port:
            uuid = _find(rows, "Port", port.nic)
            if ensures:
                return _update_port(port) if uuid else list(_insert_port(port, rows))
            return _ports(port.bridge, "delete", reference(uuid)) if uuid else []
        case NetworkMapping() as mapping:
            return _mapping(mapping, rows, ensures=ensures)
        case _:
            raise TypeError(f"not a step for an uplink: {step}")


def without(text: str, network: str) -> list[str]:
    """Return the parts of a list such as `ovn-bridge-mappings` that are not of this network."""
    parts = (part.strip() for part in text.split(","))
    return [part for part in parts if part and part.partition(":")[0] != network]


def _insert(bridge: UplinkBridge) -> list[Op]:
    """Return the operations that insert a bridge and its local port, which has its name."""
    row = {
        "name": bridge.name,
        "datapath_type": bridge.datapath_type,
        "external_ids": {"vendor": VENDOR, MARK: bridge.network},
        "other_config": {"hwaddr": bridge.mac},
        "ports": named_reference("uplinkport"),
    }
    local = {"name": bridge.name, "type": "internal"}
    port = {"name": bridge.name, "interfaces": named_reference("uplinklocal")}
    return [
        _inserted("Interface", "uplinklocal", local),
        _inserted("Port", "uplinkport", port),
        _inserted("Bridge", "uplinkbridge", row),
        _mutate_root("bridges", "insert", named_reference("uplinkbridge")),
    ]


def _remove_bridge(uuid: str, row: Row) -> list[Op]:
    """Return the operations that remove a bridge, unless somebody has added a port meanwhile."""
    ports = {"ports": ["set", [reference(port) for port in sorted(row["ports"])]]}
    unchanged: Op = {"op": "wait", "table": "Bridge", "where": where_uuid(uuid), "timeout": 0}
    unchanged |= {"columns": ["ports"], "until": "==", "rows": [ports]}
    return [unchanged, _mutate_root("bridges", "delete", reference(uuid))]


def _update_bridge(bridge: UplinkBridge, row: Row) -> list[Op]:
    ids, config = {"vendor": VENDOR, MARK: bridge.network}, {"hwaddr": bridge.mac}
    mutations = [
        *_map("external_ids", row["external_ids"], ids),
        *_map("other_config", row["other_config"], config),
    ]
    where = where_name(bridge.name)
    kind = {"datapath_type": bridge.datapath_type}
    return [
        {"op": "mutate", "table": "Bridge", "where": where, "mutations": mutations},
        {"op": "update", "table": "Bridge", "where": where, "row": encode_row(kind)},
    ]


def _insert_port(port: UplinkPort, rows: Rows) -> Iterator[Op]:
    """Yield the operations that add the NIC to its bridge. Raise NotReady without the bridge.

    `transient` lets a host remove the NIC from the bridge before it starts ovs-vswitchd, with
    `ovs-ctl --delete-transient-ports` (ovs-vswitchd.conf.db(5)): after a reboot nothing has put the
    addresses on the bridge yet.
    """
    if not _find(rows, "Bridge", port.bridge):
        raise NotReady(f"bridge {port.bridge} does not exist yet")
    yield _inserted("Interface", "uplinknic", {"name": port.nic})
    row = {
        "name": port.nic,
        "interfaces": named_reference("uplinknic"),
        "trunks": frozenset(port.trunks),
        "external_ids": {"vendor": VENDOR, MARK: port.bridge.removeprefix("br-")},
        "other_config": {"transient": "true"},
    }
    yield _inserted("Port", "uplink", row)
    yield from _ports(port.bridge, "insert", named_reference("uplink"))


def _update_port(port: UplinkPort) -> list[Op]:
    row = encode_row({"trunks": frozenset(port.trunks), "tag": None})
    return [{"op": "update", "table": "Port", "where": where_name(port.nic), "row": row}]


def _mapping(mapping: NetworkMapping, rows: Rows, *, ensures: bool) -> list[Op]:
    """Return the operations that change one entry of a list.

    Only the text that was read is replaced: where another program has written it meanwhile, nothing
    happens (RFC 7047, section 5.1), and the next look finds it.
    """
    root: Row = next(iter(rows["Open_vSwitch"].values()), {"external_ids": {}})
    name, now = mapping.name, root["external_ids"].get(mapping.name, "")
    own = [f"{mapping.network}:{mapping.value}"] if ensures else []
    new = ",".join([*without(now, mapping.network), *own])
    changes = [["external_ids", "delete", encode_map({name: now})]] if now else []
    changes += [["external_ids", "insert", encode_map({name: new})]] if new else []
    return [{"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": changes}]


def _map(column: str, now: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[list[Any]]:
    """Yield the mutations of a map for the keys that differ; an insert overwrites none."""
    new = {key: value for key, value in wanted.items() if now.get(key) != value}
    if new:
        yield [column, "delete", encode_set(new)]
        yield [column, "insert", encode_map(new)]


def _ports(bridge: str, how: str, what: list[str]) -> list[Op]:
    mutations = [["ports", how, what]]
    where = where_name(bridge)
    return [{"op": "mutate", "table": "Bridge", "where": where, "mutations": mutations}]


def _mutate_root(column: str, how: str, what: list[str]) -> Op:
    mutations = [[column, how, what]]
    return {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations}


def _inserted(table: str, name: str, row: Mapping[str, Any]) -> Op:
    return {"op": "insert", "table": table, "uuid-name": name, "row": encode_row(row)}


def _find(rows: Rows, table: str, name: str) -> str:
    """Return the UUID of the row of that name, empty if there is none."""
    return next((uuid for uuid, row in rows[table].items() if row["name"] == name), "")
