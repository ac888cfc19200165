"""QoS and Queue rows, and the policing columns: from OVSDB to values and back.

Both tables are root tables: a row stays until somebody deletes it, so ours go in the transaction that takes away what
refers to them. A repair makes them anew: ovs-vswitchd compares what they say, not who they are. What a stranger's row
refers to cannot be deleted, and would make every transaction fail: it loses our labels instead, and is the stranger's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from ovnlet.core import ids
from ovnlet.core.resources import OvsPolicing, OvsQos
from ovnlet.core.resources.ovs import MARK
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Op, Row

TABLES = {
    "QoS": ("type", "queues", "other_config", "external_ids"),
    "Queue": ("other_config", "external_ids"),
}
POLICING = ("ingress_policing_rate", "ingress_policing_burst")
_TYPE = "linux-htb"
_LABELS = frozenset({MARK, "iface-id", "pod"})
# What ovs-vswitchd takes a veth's speed for, and lets no queue exceed unless the QoS row says more.
_SPEED = 10_000_000_000
_NAMES = count(1)


def observed(name: str, mark: str, switch: VswitchIndex) -> Iterator[OvsQos | OvsPolicing]:
    """What limits the port of this name, or would limit it if it were there."""
    interface = switch.interface(name)
    key = ("port", switch.bridge_of(name), name, False)
    if interface and interface["ingress_policing_rate"]:
        yield OvsPolicing(key, name, *(interface[column] for column in POLICING))
    qos, queues = _ours(name, mark, switch)
    if qos or queues:
        rows = (
            [switch.row("QoS", uuid) for uuid in qos],
            [switch.row("Queue", uuid) for uuid in queues],
        )
        port = switch.port(name)
        bound = port is not None and [port[1]["qos"]] == qos
        joined = len(qos) == len(queues) == 1 and rows[0][0]["queues"] == {0: queues[0]}
        found = value(
            key, name, *(each[0] if each else {} for each in rows), intact=bound and joined
        )
        labels = dict(found.labels)
        # A removal finds them by the mark, so it is there even if one row has lost it.
        marked = frozenset({**labels, MARK: mark}.items())
        yield replace(found, labels=marked, intact=found.intact and labels.get(MARK) == mark)


def value(
    port: tuple[object, ...], name: str, qos: Row, queue: Row, *, intact: bool = True
) -> OvsQos:
    """As two rows say it; ``intact`` only if they say nothing else."""
    limits: dict[str, str] = queue.get("other_config", {})
    rate, burst = _number(limits.get("max-rate")), _number(limits.get("burst"))
    said = qos.get("other_config", {})
    told = {key: text for key, text in said.items() if key != "max-rate"}
    labels = {key: text for key, text in qos.get("external_ids", {}).items() if key in _LABELS}
    found = OvsQos(port, name, rate, burst or 0, frozenset(labels.items()), frozenset(told.items()))
    same = columns(found)
    intact = (
        intact
        and qos.get("type") == _TYPE
        and (said, limits) == (same[0]["other_config"], same[1]["other_config"])
    )
    intact = intact and labels == {
        k: v for k, v in queue.get("external_ids", {}).items() if k in _LABELS
    }
    return OvsQos(port, name, rate, burst or 0, found.labels, found.other_config, intact)


def columns(shaping: OvsQos) -> tuple[Row, Row]:
    """The two rows that say it, but for the reference from one to the other."""
    limits = (
        {"max-rate": str(shaping.rate), "burst": str(shaping.burst)}
        if shaping.rate is not None
        else {}
    )
    speed = {"max-rate": str(shaping.rate)} if (shaping.rate or 0) > _SPEED else {}
    labels = dict(shaping.labels)
    return (
        {
            "type": _TYPE,
            "other_config": {**dict(shaping.other_config), **speed},
            "external_ids": labels,
        },
        {"other_config": limits, "external_ids": labels},
    )


def ensure(resource: OvsQos | OvsPolicing, switch: VswitchIndex) -> list[Op]:
    if isinstance(resource, OvsPolicing):
        return [police(resource.name, resource.rate, resource.burst)]
    number, labels = next(_NAMES), dict(resource.labels)
    names = f"qos{number}", f"queue{number}"
    qos, queue = (_encoded(row) for row in columns(resource))
    qos["queues"] = ["map", [[0, ["named-uuid", names[1]]]]]
    return [
        *_deletions(resource.name, labels[MARK], switch, labels.get("iface-id")),
        {"op": "insert", "table": "Queue", "uuid-name": names[1], "row": queue},
        {"op": "insert", "table": "QoS", "uuid-name": names[0], "row": qos},
        bind(resource.name, ["named-uuid", names[0]]),
    ]


def remove(resource: OvsQos | OvsPolicing, switch: VswitchIndex) -> list[Op]:
    if isinstance(resource, OvsPolicing):
        return [police(resource.name, 0, 0)]
    mark, port = dict(resource.labels)[MARK], switch.port(resource.name)
    bound = port is not None and port[1]["qos"] in _ours(resource.name, mark, switch)[0]
    return [
        *([bind(resource.name, ["set", []])] if bound else []),
        *_deletions(resource.name, mark, switch),
    ]


def forget(name: str, switch: VswitchIndex) -> list[Op]:
    """The rows that go with a port that is removed; a strayed one that bears our mark too takes none along."""
    mark = switch.owner(name) or ""
    key = ids.marked(mark)
    return _deletions(name, mark, switch) if key and ids.host_link(*key) == name else []


def bind(name: str, qos: list[Any]) -> Op:
    return {"op": "update", "table": "Port", "where": [["name", "==", name]], "row": {"qos": qos}}


def _deletions(name: str, mark: str, switch: VswitchIndex, iface_id: str | None = None) -> list[Op]:
    qos, queues = _ours(name, mark, switch, iface_id)
    kept = {uuid for uuid in qos if set(switch.bound_to[uuid]) - set(switch.ports[name])}
    kept |= {uuid for uuid in queues if set(switch.qos_of[uuid]) - (set(qos) - kept)}
    rows = [("QoS", uuid) for uuid in qos] + [("Queue", uuid) for uuid in queues]
    return [
        _let_go(table, uuid) if uuid in kept else _deletion(table, uuid) for table, uuid in rows
    ]


def _deletion(table: str, uuid: str) -> Op:
    return {"op": "delete", "table": table, "where": [["_uuid", "==", ["uuid", uuid]]]}


def _let_go(table: str, uuid: str) -> Op:
    labels = [["external_ids", "delete", ["set", sorted(_LABELS)]]]
    return {
        "op": "mutate",
        "table": table,
        "where": [["_uuid", "==", ["uuid", uuid]]],
        "mutations": labels,
    }


def _ours(
    name: str, mark: str, switch: VswitchIndex, iface_id: str | None = None
) -> tuple[list[str], list[str]]:
    """The rows that bear the mark, and those the port is bound to if they bear its `iface-id`, as Kube-OVN's do.

    A row around our queue that bears no label at all has lost ours.
    """
    qos, queues = list(switch.qos_marks[mark]), list(switch.queue_marks[mark])
    qos += [
        uuid
        for queue in queues
        for uuid in switch.qos_of[queue]
        if not switch.row("QoS", uuid)["external_ids"]
    ]
    port, interface = switch.port(name), switch.interface(name)
    bound: str = (port[1]["qos"] if port else None) or ""
    row = switch.row("QoS", bound) if bound not in qos else {}
    iface_id = iface_id or (interface["external_ids"].get("iface-id") if interface else None)
    if row and iface_id and row["external_ids"].get("iface-id") == iface_id:
        qos.append(bound)
        labelled = {
            uuid for uuid in row["queues"].values() if _claimed(switch.row("Queue", uuid), iface_id)
        }
        queues += sorted(labelled - set(queues))
    return qos, queues


def _claimed(queue: Row, iface_id: str) -> bool:
    return bool(queue) and queue["external_ids"].get("iface-id") == iface_id


def police(name: str, rate: int, burst: int) -> Op:
    row = dict(zip(POLICING, (rate, burst), strict=True))
    return {"op": "update", "table": "Interface", "where": [["name", "==", name]], "row": row}


def _encoded(row: Row) -> Row:
    return {name: _map(item) if isinstance(item, Mapping) else item for name, item in row.items()}


def _map(values: Mapping[str, str]) -> list[Any]:
    return ["map", sorted(values.items())]


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None
