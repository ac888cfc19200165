"""QoS and Queue rows, and the policing columns of an Interface: from OVSDB to values and back.

Both tables are root tables: a row stays until a client deletes it. So our rows are deleted in the
transaction that removes what refers to them. A repair inserts new rows instead of changing the old
ones: ovs-vswitchd compares the contents, not the UUIDs. A row that another client's row refers to
cannot be deleted, and trying to would fail the whole transaction. Such a row loses our labels
instead, and belongs to that client from then on.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from ovnlet.core import ids
from ovnlet.core.resources import OvsPolicing, OvsQos
from ovnlet.core.resources.ovs import MARK
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.encoding import (
    encode_map,
    encode_optional,
    encode_row,
    encode_set,
    named_reference,
    where_name,
    where_uuid,
)
from ovnlet.drivers.ovsdb.replica import Op, Row

TABLES = {
    "QoS": ("type", "queues", "other_config", "external_ids"),
    "Queue": ("other_config", "external_ids"),
}
POLICING = ("ingress_policing_rate", "ingress_policing_burst")
_TYPE = "linux-htb"
# The keys of external_ids that we write, in both tables.
_LABELS = frozenset({MARK, "iface-id", "pod"})
# bit/s. ovs-vswitchd takes this for a veth's speed, and caps all queues at it unless the QoS row
# has a higher `max-rate`.
_LINK_SPEED = 10_000_000_000
# Numbers for `uuid-name`s, which must be unique within a transaction that several callers share.
_ROW_NUMBERS = count(1)


def observed(name: str, mark: str, index: VswitchIndex) -> Iterator[OvsQos | OvsPolicing]:
    """Yield the limits of the port of this name, whether the port itself exists or not.

    A QoS is not ``intact`` if there is more than one row of a kind, or if Port, QoS and Queue do
    not refer to each other. A repair then replaces all of them.
    """
    interface = index.interface(name)
    key = ("port", index.bridge_of(name), name, False)
    if interface and interface["ingress_policing_rate"]:
        yield OvsPolicing(key, name, *(interface[column] for column in POLICING))
    qos, queues = _rows_of(name, mark, index)
    if qos or queues:
        rows = (
            [index.row("QoS", uuid) for uuid in qos],
            [index.row("Queue", uuid) for uuid in queues],
        )
        port = index.port(name)
        bound = port is not None and [port[1]["qos"]] == qos
        joined = len(qos) == len(queues) == 1 and rows[0][0]["queues"] == {0: queues[0]}
        found = value(
            key, name, *(each[0] if each else {} for each in rows), intact=bound and joined
        )
        labels = dict(found.labels)
        # A removal finds the rows by the mark. So the value has it even if one row has lost it.
        marked = frozenset({**labels, MARK: mark}.items())
        yield replace(found, labels=marked, intact=found.intact and labels.get(MARK) == mark)


def value(
    port: tuple[object, ...], name: str, qos: Row, queue: Row, *, intact: bool = True
) -> OvsQos:
    """Return two rows as a value. It is ``intact`` only if `columns` makes the same rows of it."""
    limits: dict[str, str] = queue.get("other_config", {})
    config: dict[str, str] = qos.get("other_config", {})
    other = {key: text for key, text in config.items() if key != "max-rate"}
    labels = _labels(qos)
    found = OvsQos(
        port,
        name,
        _number(limits.get("max-rate")),
        _number(limits.get("burst")) or 0,
        frozenset(labels.items()),
        frozenset(other.items()),
    )
    wanted_qos, wanted_queue = columns(found)
    same = (
        qos.get("type") == _TYPE
        and (config, limits) == (wanted_qos["other_config"], wanted_queue["other_config"])
        and labels == _labels(queue)
    )
    return replace(found, intact=intact and same)


def columns(resource: OvsQos) -> tuple[Row, Row]:
    """Return the QoS row and the Queue row of a value, without the reference between them."""
    limits = (
        {"max-rate": str(resource.rate), "burst": str(resource.burst)}
        if resource.rate is not None
        else {}
    )
    speed = {"max-rate": str(resource.rate)} if (resource.rate or 0) > _LINK_SPEED else {}
    labels = dict(resource.labels)
    return (
        {
            "type": _TYPE,
            "other_config": {**dict(resource.other_config), **speed},
            "external_ids": labels,
        },
        {"other_config": limits, "external_ids": labels},
    )


def ensure(resource: OvsQos | OvsPolicing, index: VswitchIndex) -> list[Op]:
    """Return the operations that set a limit. A QoS gets new rows, and the old ones are deleted."""
    if isinstance(resource, OvsPolicing):
        return [police(resource.name, resource.rate, resource.burst)]
    number, labels = next(_ROW_NUMBERS), dict(resource.labels)
    qos_name, queue_name = f"qos{number}", f"queue{number}"
    qos, queue = (encode_row(row) for row in columns(resource))
    qos["queues"] = encode_map({0: named_reference(queue_name)})
    return [
        *_deletions(resource.name, labels[MARK], index, labels.get("iface-id")),
        {"op": "insert", "table": "Queue", "uuid-name": queue_name, "row": queue},
        {"op": "insert", "table": "QoS", "uuid-name": qos_name, "row": qos},
        bind(resource.name, named_reference(qos_name)),
    ]


def remove(resource: OvsQos | OvsPolicing, index: VswitchIndex) -> list[Op]:
    """Return the operations that remove a limit."""
    if isinstance(resource, OvsPolicing):
        return [police(resource.name, 0, 0)]
    mark, port = dict(resource.labels)[MARK], index.port(resource.name)
    bound = port is not None and port[1]["qos"] in _rows_of(resource.name, mark, index)[0]
    return [
        *([bind(resource.name, None)] if bound else []),
        *_deletions(resource.name, mark, index),
    ]


def remove_with_port(name: str, index: VswitchIndex) -> list[Op]:
    """Return the operations that delete the limits of a port that is being removed.

    There are none for a port that has the mark of another port's attachment: its rows are that
    port's.
    """
    mark = index.owner(name) or ""
    key = ids.marked(mark)
    return _deletions(name, mark, index) if key and ids.is_host_link(name, *key) else []


def bind(name: str, qos: list[str] | None) -> Op:
    """Return the operation that has a port refer to a QoS row, or to none."""
    row = {"qos": encode_optional(qos)}
    return {"op": "update", "table": "Port", "where": where_name(name), "row": row}


def police(name: str, rate: int, burst: int) -> Op:
    """Return the operation that sets a port's policing, in kbit/s and kbit; rate 0 is none."""
    row = dict(zip(POLICING, (rate, burst), strict=True))
    return {"op": "update", "table": "Interface", "where": where_name(name), "row": row}


def _deletions(name: str, mark: str, index: VswitchIndex, iface_id: str | None = None) -> list[Op]:
    """Return the operations that delete the port's rows, or unlabel those still referred to."""
    qos, queues = _rows_of(name, mark, index, iface_id)
    kept = {uuid for uuid in qos if set(index.ports_by_qos[uuid]) - set(index.ports[name])}
    kept |= {uuid for uuid in queues if set(index.qos_by_queue[uuid]) - (set(qos) - kept)}
    rows = [("QoS", uuid) for uuid in qos] + [("Queue", uuid) for uuid in queues]
    return [
        _unlabel(table, uuid) if uuid in kept else _deletion(table, uuid) for table, uuid in rows
    ]


def _deletion(table: str, uuid: str) -> Op:
    return {"op": "delete", "table": table, "where": where_uuid(uuid)}


def _unlabel(table: str, uuid: str) -> Op:
    mutations: list[Any] = [["external_ids", "delete", encode_set(_LABELS)]]
    return {"op": "mutate", "table": table, "where": where_uuid(uuid), "mutations": mutations}


def _rows_of(
    name: str, mark: str, index: VswitchIndex, iface_id: str | None = None
) -> tuple[list[str], list[str]]:
    """Return the UUIDs of the QoS rows and of the Queue rows that belong to a port.

    These are the rows with its mark, and the rows it is bound to if they have its `iface-id`:
    Kube-OVN labels its rows so. A QoS row without any label that refers to our Queue counts too,
    because it must have lost our labels.
    """
    qos, queues = list(index.qos_by_mark[mark]), list(index.queues_by_mark[mark])
    qos += [
        uuid
        for queue in queues
        for uuid in index.qos_by_queue[queue]
        if not index.row("QoS", uuid)["external_ids"]
    ]
    port, interface = index.port(name), index.interface(name)
    bound: str = (port[1]["qos"] if port else None) or ""
    row = index.row("QoS", bound) if bound not in qos else {}
    iface_id = iface_id or (interface["external_ids"].get("iface-id") if interface else None)
    if row and iface_id and _has_iface_id(row, iface_id):
        qos.append(bound)
        labelled = {
            uuid
            for uuid in row["queues"].values()
            if _has_iface_id(index.row("Queue", uuid), iface_id)
        }
        queues += sorted(labelled - set(queues))
    return qos, queues


def _has_iface_id(row: Row, iface_id: str) -> bool:
    return bool(row) and row["external_ids"].get("iface-id") == iface_id


def _labels(row: Row) -> dict[str, str]:
    labels = row.get("external_ids", {})
    return {key: text for key, text in labels.items() if key in _LABELS}


def _number(text: str | None) -> int | None:
    """Return the whole number of at most 19 digits; None for any other text."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None
