"""Who is who among the rows of Open_vSwitch: by name, by mark, by `iface-id`, by bridge."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from ovnlet.core.resources import Port
from ovnlet.core.resources.ovs import MARK, OWNED_IDS
from ovnlet.drivers.ovsdb.replica import Row

Rows = Mapping[str, Mapping[str, Row]]


class Index:
    """Which rows of a table bear a value; rows and values in the order in which they came."""

    def __init__(self, values: Callable[[Row], Iterable[str | None]]) -> None:
        self._values = values
        self._rows: dict[str, dict[str, None]] = {}

    def __getitem__(self, value: str) -> tuple[str, ...]:
        return tuple(self._rows.get(value, ()))

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._rows))

    def change(self, uuid: str, old: Row | None, new: Row | None) -> None:
        for value in self._values(old) if old else ():
            if value is not None and uuid in (rows := self._rows.get(value, {})):
                del rows[uuid]
                if not rows:
                    del self._rows[value]
        for value in self._values(new) if new else ():
            if value is not None:
                self._rows.setdefault(value, {})[uuid] = None

    def clear(self) -> None:
        self._rows.clear()


class VswitchIndex:
    """The rows of one session, and what they are to each other."""

    def __init__(self) -> None:
        self._rows: Rows = {}
        self.interfaces = Index(lambda row: (row["name"],))
        self.marks = Index(lambda row: (row["external_ids"].get(MARK),))
        self.claims = Index(lambda row: (row["external_ids"].get("iface-id"),))
        self.ports = Index(lambda row: (row["name"],))
        self.port_marks = Index(lambda row: (row["external_ids"].get(MARK),))
        self.ports_of = Index(lambda row: row["interfaces"])
        self.bridges = Index(lambda row: (row["name"],))
        self.bridges_of = Index(lambda row: row["ports"])
        self.qos_marks = Index(lambda row: (row["external_ids"].get(MARK),))
        self.queue_marks = Index(lambda row: (row["external_ids"].get(MARK),))
        self.bound_to = Index(lambda row: (row["qos"],))
        self.qos_of = Index(lambda row: row["queues"].values())
        self._indices = {
            "Interface": (self.interfaces, self.marks, self.claims),
            "Port": (self.ports, self.port_marks, self.ports_of, self.bound_to),
            "Bridge": (self.bridges, self.bridges_of),
            "QoS": (self.qos_marks, self.qos_of),
            "Queue": (self.queue_marks,),
        }

    def renew(self, rows: Rows) -> None:
        """Take all rows of a new session."""
        self._rows = rows
        for table, indices in self._indices.items():
            for index in indices:
                index.clear()
                for uuid, row in rows[table].items():
                    index.change(uuid, None, row)

    def change(self, table: str, uuid: str, old: Row | None, new: Row | None) -> None:
        for index in self._indices.get(table, ()):
            index.change(uuid, old, new)

    def interface(self, name: str) -> Row | None:
        return next((self._rows["Interface"][uuid] for uuid in self.interfaces[name]), None)

    def port(self, name: str) -> tuple[str, Row] | None:
        return next(((uuid, self._rows["Port"][uuid]) for uuid in self.ports[name]), None)

    def bridge(self, name: str) -> Row | None:
        return next((self._rows["Bridge"][uuid] for uuid in self.bridges[name]), None)

    def bridge_of(self, port: str) -> str:
        """The name of the bridge that has the port of this name; empty if none has."""
        return next(
            (self._rows["Bridge"][b]["name"] for p in self.ports[port] for b in self.bridges_of[p]),
            "",
        )

    def row(self, table: str, uuid: str) -> Row:
        """Empty if there is none."""
        return self._rows[table].get(uuid, {})

    def root(self) -> tuple[str, Row] | None:
        return next(iter(self._rows.get("Open_vSwitch", {}).items()), None)

    def owner(self, name: str) -> str | None:
        """The mark of a port: that of its Port row, else that of its Interface row."""
        port, interface = self.port(name), self.interface(name)
        mark: str | None = port[1]["external_ids"].get(MARK) if port else None
        return mark or (interface["external_ids"].get(MARK) if interface else None)

    def marked(self, mark: str) -> set[str]:
        """The names of the ports that a mark owns."""
        names = {self._rows["Interface"][uuid]["name"] for uuid in self.marks[mark]}
        names |= {self._rows["Port"][uuid]["name"] for uuid in self.port_marks[mark]}
        return {name for name in names if self.owner(name) == mark and self.port(name)}

    def claimants(self, iface_id: str) -> set[str]:
        """The names of the interfaces that bear an `iface-id`."""
        return {self._rows["Interface"][uuid]["name"] for uuid in self.claims[iface_id]}

    def resource(self, name: str) -> Port:
        """The port of this name as a value. A mark that one of its two rows lacks is a lost one."""
        port, interface = self.port(name), self.interface(name)
        ids: dict[str, str] = dict(interface["external_ids"]) if interface else {}
        if port is None or port[1]["external_ids"].get(MARK) != ids.get(MARK):
            ids.pop(MARK, None)
        labels = frozenset((k, v) for k, v in ids.items() if k in OWNED_IDS)
        if interface and interface["type"] == "internal":
            mac, mtu = interface["mac"], interface["mtu_request"]
            return Port(self.bridge_of(name), name, labels, internal=True, mac=mac, mtu=mtu)
        return Port(self.bridge_of(name), name, labels)
