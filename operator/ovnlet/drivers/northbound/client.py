"""OVN's northbound database: what is there as values, and steps as transactions. The only file that touches it."""

import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ovnlet.core.allocation import Address
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.ipam.claims import bound
from ovnlet.core.ipam.decide import Seen
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources.northbound import Row, Rows, SwitchPort
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound import encoding
from ovnlet.drivers.ovsdb.replica import Change, Op, Replica
from ovnlet.drivers.ovsdb.replica import Row as Columns
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

SWITCH, PORT, ROUTER = "Logical_Switch", "Logical_Switch_Port", "Logical_Router"
_ROUTED = (("Logical_Router_Port", "ports"), ("Logical_Router_Static_Route", "static_routes"))
_POLICY = ("Logical_Router_Policy", "policies")
# Whoever leads takes it: a former leader that has not noticed yet can write nothing more.
LOCK = "ovnlet_controller"


class Northbound:
    """``changed`` is told of each port of ours by its name and switch, and whether it gave addresses up; of anything
    else by two empty strings.

    ``renewed`` follows the first dump of each session.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        changed: Callable[[str, str, bool], None],
        renewed: Callable[[], None],
    ) -> None:
        self._changed, self._renewed = changed, renewed
        self._database = Replica(
            settings.ovn_nb,
            "OVN_Northbound",
            encoding.TABLES,
            changed=self._take,
            reloaded=self._dumped,
            tls=tls(settings),
            lock=LOCK,
        )
        self._commits = TransactionBatcher(self._database)
        self._forget()

    def _forget(self) -> None:
        self._named: dict[tuple[str, str], str] = {}  # UUIDs by table and name
        self._parents: dict[str, str] = {}  # a port's switch
        self._holders: defaultdict[str, set[str]] = defaultdict(
            set
        )  # names of ports by address or MAC

    def start(self) -> None:
        self._database.start()

    async def close(self) -> None:
        await self._database.close()

    @property
    def connected(self) -> bool:
        return self._database.connected.is_set()

    @property
    def fault(self) -> str:
        return self._database.fault

    async def ready(self) -> None:
        await self._database.connected.wait()

    def port(self, name: str) -> Seen | None:
        """A port of ours as it is. Raises Taken where another's has the name."""
        self._expect()
        uuid = self._named.get((PORT, name))
        if uuid is None:
            return None
        columns = self._row(PORT, uuid)
        if not encoding.is_ours(columns):
            raise Taken(f"logical switch port {name} is not of ovnlet's making")
        return self._seen(uuid, columns)

    def ports(self, switch: str) -> Iterator[SwitchPort]:
        """The ports of ours on a switch, but for the one that leads to the router."""
        self._expect()
        if (uuid := self._named.get((SWITCH, switch))) is not None:
            for port in self._row(SWITCH, uuid)["ports"]:
                columns = self._database.rows[PORT].get(port)
                if (
                    columns is not None
                    and encoding.is_ours(columns)
                    and columns["type"] != "router"
                ):
                    yield self._seen(port, columns).port

    def every_port(self) -> list[SwitchPort]:
        """All ports of ours, but for those that lead to a router."""
        self._expect()
        rows = self._database.rows[PORT].items()
        return [
            self._seen(u, row).port
            for u, row in rows
            if encoding.is_ours(row) and row["type"] != "router"
        ]

    def has(self, *, switch: str = "", router: str = "") -> bool:
        return (SWITCH, switch) in self._named or (ROUTER, router) in self._named

    def subnet(self, switch: str, router: str) -> Rows:
        """What is there of a subnet: its switch and both ends of the wire to the router."""
        self._expect()
        found = {self._value(SWITCH, switch), self._value(PORT, f"{switch}-{router}")}
        found |= {
            row
            for row in self._routed(router, *_ROUTED[:1])
            if getattr(row, "name", "") == f"{router}-{switch}"
        }
        return frozenset(row for row in found if row is not None)

    def network(self, router: str) -> Rows:
        """What is there of the router itself: routes and policies, without its ports."""
        self._expect()
        own = self._value(ROUTER, router)
        return frozenset({*([own] if own else []), *self._routed(router, _ROUTED[1], _POLICY)})

    def holder(self, address: Address | str, besides: str) -> str | None:
        """Another port that has this address or MAC: under load OVN gives one to two."""
        return next((name for name in self._holders.get(str(address), ()) if name != besides), None)

    async def apply(self, plan: Sequence[Step[Row]], guard: str | None = None) -> None:
        """In one transaction, together with whatever else is asked for at this time."""
        if plan:
            await self._commits.commit(lambda: list(self._ops(plan, guard)))

    def _ops(self, plan: Sequence[Step[Row]], guard: str | None) -> Iterator[Op]:
        moved: set[str] = set()  # a port that leaves one switch for another is a new row
        for step in plan:
            resource = step.resource
            parent = self._uuid(*resource.within[:2]) if resource.within else None
            uuid = self._find(resource)
            if step.verb is Verb.REMOVE:
                moved.add(uuid or "")
            elif uuid in moved:
                uuid = None
            yield from encoding.ops(step, uuid, parent, encoding.new_name(resource.key), guard)

    def _uuid(self, kind: object, name: object) -> str | None:
        return self._named.get((SWITCH if kind == "switch" else ROUTER, str(name)))

    def _find(self, resource: Row) -> str | None:
        table = encoding.TABLE_OF[type(resource)]
        if (name := getattr(resource, "name", None)) is not None:
            return self._named.get((table, name))
        rows = self._database.rows[table].items()
        return next(
            (
                u
                for u, row in rows
                if encoding.is_ours(row)
                and encoding.read(table, "", row).key[2:] == resource.key[2:]
            ),
            None,
        )

    def _expect(self) -> None:
        if not self.connected:
            raise NotReady(f"the northbound database is away: {self._database.fault}")

    def _row(self, table: str, uuid: str) -> Columns:
        return self._database.rows[table][uuid]

    def _seen(self, uuid: str, columns: Columns) -> Seen:
        port = encoding.read(PORT, self._parents.get(uuid, ""), columns)
        assert isinstance(port, SwitchPort)  # noqa: S101  (for the type checker)
        return Seen(port, columns["dynamic_addresses"] or "")

    def _value(self, table: str, name: str) -> Row | None:
        uuid = self._named.get((table, name))
        if uuid is None:
            return None
        columns = self._row(table, uuid)
        if not encoding.is_ours(columns):
            raise Taken(f"{table} {name} is not of ovnlet's making")
        return encoding.read(table, self._parents.get(uuid, ""), columns)

    def _routed(self, router: str, *columns: tuple[str, str]) -> Iterator[Row]:
        if (uuid := self._named.get((ROUTER, router))) is not None:
            for table, column in columns:
                for child in self._row(ROUTER, uuid)[column]:
                    row = self._database.rows[table].get(child)
                    if row is not None and encoding.is_ours(row):
                        yield encoding.read(table, router, row)

    def _dumped(self) -> None:
        self._forget()
        for table in (SWITCH, ROUTER, "Logical_Router_Port", PORT):  # ports ask for their switch
            for uuid, row in self._database.rows[table].items():
                self._index(table, uuid, None, row)
        self._renewed()

    def _take(self, changes: Sequence[Change]) -> None:
        told: set[tuple[str, str, bool]] = set()
        for change in sorted(changes, key=lambda change: change[0]):  # a switch before its ports
            table, uuid, old, new = change
            parent = self._parents.get(uuid, "")
            self._index(table, uuid, old, new)
            told.update(self._affected(table, uuid, parent, (old, new)))
        for name, switch, freed in told:
            self._changed(name, switch, freed)

    def _affected(
        self, table: str, uuid: str, parent: str, rows: tuple[Columns | None, Columns | None]
    ) -> Iterator[tuple[str, str, bool]]:
        ours = [row for row in rows if row is not None and encoding.is_ours(row)]
        if table == PORT and any(row["type"] != "router" for row in ours):
            yield ours[0]["name"], parent or self._parents.get(uuid, ""), _gave_up(*rows)
        elif ours and not (table == SWITCH and len(ours) == 2 and _same_but_ports(*ours)):
            yield "", "", False

    def _index(self, table: str, uuid: str, old: Columns | None, new: Columns | None) -> None:
        name = (new or old or {}).get("name")
        if name is not None:
            if new is not None:
                self._named[table, name] = uuid
            elif self._named.get((table, name)) == uuid:
                del self._named[table, name]
        if table == SWITCH and new is not None:
            for port in new["ports"] - (old["ports"] if old else frozenset()):
                self._parents[port] = name or ""
        if table == PORT:
            self._hold(old, new)
            if new is None:
                self._parents.pop(uuid, None)

    def _hold(self, old: Columns | None, new: Columns | None) -> None:
        for row, add in ((old, False), (new, True)):
            for word in _held(row) if row is not None else ():
                names = self._holders[word]
                if add:
                    names.add(row["name"])  # type: ignore[index]
                else:
                    names.discard(row["name"])  # type: ignore[index]
                if not names:
                    del self._holders[word]


def _held(row: Columns) -> Iterator[str]:
    """The MAC and the addresses that a port has, whoever made it."""
    for text in (*row["addresses"], row["dynamic_addresses"] or ""):
        if binding := bound(text):
            yield binding.mac
            yield from map(str, binding.addresses)


def _gave_up(old: Columns | None, new: Columns | None) -> bool:
    """Whether another may now have an address: those of IPv6 that nobody was told of never run short."""
    if old is None or new is not None:
        return False
    pinned = any(bound(text) for text in old["addresses"])
    return pinned or any("." in word for word in _held(old))


def _same_but_ports(old: Columns, new: Columns) -> bool:
    return all(old[name] == new[name] for name in old if name != "ports")


def tls(settings: ControllerSettings) -> ssl.SSLContext | None:
    """With a client's certificate; whom to trust is the CA, whatever name its certificate bears."""
    if "ssl:" not in settings.ovn_nb:
        return None
    if not (settings.ovn_key and settings.ovn_cert and settings.ovn_ca):
        raise NotReady("ovn_nb is ssl: and needs ovn_key, ovn_cert and ovn_ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=Path(settings.ovn_ca).read_text())
        context.load_cert_chain(settings.ovn_cert, settings.ovn_key)
    except OSError as error:  # of the ssl module's too
        raise NotReady(f"the keys for ovn_nb cannot be used: {error}") from error
    return context
