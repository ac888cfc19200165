"""OVN's northbound database: read rows as values, and write plans as transactions.

No module outside this package may touch the database. What a row should be is decided in
``core.ipam`` and ``controller``.
"""

from collections.abc import Callable, Iterator, Sequence

from ovnlet.core.allocation import Address
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.ipam.decide import Seen
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import northbound as nb
from ovnlet.core.resources.northbound import Row, Rows, SwitchPort
from ovnlet.core.services import PROTOCOLS, Owner, name_of
from ovnlet.core.settings import ControllerSettings
from ovnlet.core.topology import localnet_port
from ovnlet.drivers.northbound import encoding, schema
from ovnlet.drivers.northbound.encoding import Target
from ovnlet.drivers.northbound.row_index import (
    RowIndex,
    balanced_service,
    changed_services,
    same_but_ports,
)
from ovnlet.drivers.northbound.schema import BALANCER, GROUP, PORT, ROUTER, ROUTER_PORT, SWITCH
from ovnlet.drivers.northbound.session import Session
from ovnlet.drivers.ovsdb.replica import Change, Op
from ovnlet.drivers.ovsdb.replica import Row as Columns
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

_ROUTED = ((ROUTER_PORT, "ports"), ("Logical_Router_Static_Route", "static_routes"))
# Types of ports that a subnet has by itself.
_OF_SUBNETS = ("router", "localnet")
_POLICY = ("Logical_Router_Policy", "policies")
# Seconds between two transactions. Each makes ovn-northd compute the whole network twice, for our
# change and for its own answer, so a burst of pods needs few and large ones, a single pod none.
_PER_MEMBER, _LONGEST = 0.004, 0.1


class Northbound(Session):
    """The northbound database as the controller uses it. Only rows with ovnlet's mark are ours.

    ``changed(port, switch)`` is called for each changed port of ours, with its name and its
    switch's; for any other row of ours it is called with two empty strings.
    ``rebalanced(service)`` is called for each changed load balancer of ours with its Service, as
    `namespace/name`. ``resynced()`` is called after the first dump of each session: anything may
    have changed, and no changes of single rows are reported for it.

    Methods that read raise NotReady while the database is not connected.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        changed: Callable[[str, str], None],
        resynced: Callable[[], None],
        rebalanced: Callable[[str], None],
    ) -> None:
        self._changed, self._resynced, self._rebalanced = changed, resynced, rebalanced
        super().__init__(settings, schema.TABLES, self._process_changes, self._process_dump)
        self._batcher = TransactionBatcher(self._database, per_member=_PER_MEMBER, longest=_LONGEST)
        self._index = RowIndex()

    def port(self, name: str) -> Seen | None:
        """Return a port of ours as it is, or None if there is none with that name.

        Raise Taken if a foreign port has the name.
        """
        self._require_connection()
        uuid = self._index.uuid(PORT, name)
        if uuid is None:
            return None
        columns = self._row(PORT, uuid)
        if not encoding.is_ours(columns):
            raise Taken(f"logical switch port {name} was not made by ovnlet")
        return self._observed_port(uuid, columns)

    def ports(self, switch: str) -> Iterator[SwitchPort]:
        """Yield the ports of ours on a switch, except for those that lead to a router or uplink."""
        self._require_connection()
        if (uuid := self._index.uuid(SWITCH, switch)) is not None:
            for port in self._row(SWITCH, uuid)["ports"]:
                columns = self._database.rows[PORT].get(port)
                if columns is not None and _is_attachment_port(columns):
                    yield self._observed_port(port, columns).port

    def every_port(self) -> list[SwitchPort]:
        """Return all ports of ours, except for those that lead to a router or an uplink."""
        self._require_connection()
        rows = self._database.rows[PORT].items()
        return [
            self._observed_port(uuid, row).port for uuid, row in rows if _is_attachment_port(row)
        ]

    def has(self, *, switch: str = "", router: str = "", group: str = "") -> bool:
        """Return whether there is such a switch, router or load balancer group, ours or not."""
        asked = ((SWITCH, switch), (ROUTER, router), (GROUP, group))
        return any(self._index.uuid(table, name) is not None for table, name in asked)

    def switches(self) -> list[str]:
        """Return the names of our switches."""
        ours = filter(encoding.is_ours, self._database.rows[SWITCH].values())
        return [row["name"] for row in ours]

    def subnet(self, switch: str, router: str) -> Rows:
        """Return what is there of a subnet: its switch, and the ports to the router or an uplink.

        Raise Taken if a foreign row has the name of the switch or of one of the ports.
        """
        self._require_connection()
        ports = (f"{switch}-{router}", localnet_port(switch))
        found = {self._value(SWITCH, switch), *(self._value(PORT, name) for name in ports)}
        self._value(ROUTER_PORT, f"{router}-{switch}")  # the names of all routers' ports are unique
        found |= {
            row
            for row in self._routed(router, *_ROUTED[:1])
            if getattr(row, "name", "") == f"{router}-{switch}"
        }
        return frozenset(row for row in found if row is not None)

    def network(self, router: str) -> Rows:
        """Return what is there of the router itself: routes and policies, without its ports.

        The group of load balancers is returned too. Raise Taken if a foreign router has the name.
        """
        self._require_connection()
        own = (self._value(ROUTER, router), self._value(GROUP, nb.GROUP))
        return frozenset((*(row for row in own if row), *self._routed(router, _ROUTED[1], _POLICY)))

    def balancers(self, service: Owner) -> Rows:
        """Return what is there of a Service's load balancers.

        Raise Taken if a foreign row has the name of one.
        """
        self._require_connection()
        names = (name_of(service, protocol) for protocol in PROTOCOLS)
        return frozenset(filter(None, (self._value(BALANCER, name) for name in names)))

    def balanced(self) -> set[str]:
        """Return the Services that have a load balancer of ours, as `namespace/name`."""
        rows = self._database.rows[BALANCER].values()
        return {balanced_service(row) for row in rows if encoding.is_ours(row)}

    def holder(self, address: Address | str, except_port: str) -> str | None:
        """Return the name of another port with this address or MAC, or None.

        Under load, OVN gives one address to two ports.
        """
        return self._index.holder(address, except_port)

    async def apply(self, plan: Sequence[Step[Row]], guard: str | None = None) -> None:
        """Commit the plan in one transaction, together with others that wait at the same time.

        With a ``guard``, commit only if a port's ``dynamic_addresses`` still has that value. Raise
        Refused with the server's message if it refuses, a guard included, Disconnected if the
        outcome is unknown, TermEnded if another replica leads, or NotReady before ``lead``.
        """
        if plan and not self._database.guard:
            raise NotReady("this replica has not begun its term yet")
        if plan:
            await self._batcher.commit(lambda: list(self._ops(plan, guard)))

    def _ops(self, plan: Sequence[Step[Row]], guard: str | None) -> Iterator[Op]:
        moved: set[str] = set()  # a port that moves to another switch becomes a new row
        for step in plan:
            resource = step.resource
            parent = self._uuid(*resource.within[:2]) if resource.within else None
            uuid = self._find(resource)
            if step.verb is Verb.REMOVE:
                moved.add(uuid or "")
            elif uuid in moved:
                uuid = None
            group, named = self._index.uuid(GROUP, nb.GROUP), encoding.new_name(resource.key)
            yield from encoding.ops(step, Target(uuid, parent, named, group), guard)

    def _uuid(self, kind: object, name: object) -> str | None:
        return self._index.uuid(SWITCH if kind == "switch" else ROUTER, str(name))

    def _find(self, resource: Row) -> str | None:
        """Return the UUID of the resource's row, or None. Find a row without a name by its key."""
        table = schema.TABLE_OF[type(resource)]
        if (name := getattr(resource, "name", None)) is not None:
            return self._index.uuid(table, name)
        rows, key = self._database.rows[table].items(), resource.key[2:]
        ours = ((uuid, row) for uuid, row in rows if encoding.is_ours(row))
        same = (uuid for uuid, row in ours if encoding.read(table, "", row).key[2:] == key)
        return next(same, None)

    def _require_connection(self) -> None:
        if not self.connected:
            raise NotReady(f"the northbound database is not connected: {self._database.fault}")

    def _row(self, table: str, uuid: str) -> Columns:
        return self._database.rows[table][uuid]

    def _observed_port(self, uuid: str, columns: Columns) -> Seen:
        port = encoding.read(PORT, self._index.switch_of(uuid), columns)
        assert isinstance(port, SwitchPort)  # noqa: S101  (for the type checker)
        return Seen(port, columns["dynamic_addresses"] or "")

    def _value(self, table: str, name: str) -> Row | None:
        uuid = self._index.uuid(table, name)
        if uuid is None:
            return None
        columns = self._row(table, uuid)
        if not encoding.is_ours(columns):
            raise Taken(f"{table} {name} was not made by ovnlet")
        parent, grouped = self._index.switch_of(uuid), self._is_grouped(table, uuid, columns)
        return encoding.read(table, parent, columns, grouped=grouped)

    def _is_grouped(self, table: str, uuid: str, columns: Columns) -> bool:
        """Return whether our group has the load balancer, or the switch has our group."""
        group = self._index.uuid(GROUP, nb.GROUP)
        if group is None:
            return False
        if table == SWITCH:
            return group in columns["load_balancer_group"]
        return uuid in self._row(GROUP, group)["load_balancer"]

    def _routed(self, router: str, *columns: tuple[str, str]) -> Iterator[Row]:
        """Yield our rows that the router refers to in those columns, given with their tables."""
        if (uuid := self._index.uuid(ROUTER, router)) is not None:
            for table, column in columns:
                for child in self._row(ROUTER, uuid)[column]:
                    row = self._database.rows[table].get(child)
                    if row is not None and encoding.is_ours(row):
                        yield encoding.read(table, router, row)

    def _process_dump(self) -> None:
        self._index = RowIndex()
        for table in schema.NAMED:
            for uuid, row in self._database.rows[table].items():
                self._index.update(table, uuid, None, row)
        self._resynced()

    def _process_changes(self, changes: Sequence[Change]) -> None:
        """Update the index with all changes of a message, then report each affected port once."""
        notifications: set[tuple[str, str]] = set()
        services: set[str] = set()
        for change in sorted(changes, key=lambda change: change[0]):  # a switch before its ports
            table, uuid, old, new = change
            switch = self._index.switch_of(uuid)
            self._index.update(table, uuid, old, new)
            if table in (BALANCER, GROUP):
                balancers = self._database.rows[BALANCER]
                services |= changed_services(table, old, new, balancers)
            notifications.update(self._affected(table, uuid, switch, (old, new)))
        for service in services:
            self._rebalanced(service)
        for name, switch in notifications:
            self._changed(name, switch)

    def _affected(
        self, table: str, uuid: str, switch: str, rows: tuple[Columns | None, Columns | None]
    ) -> Iterator[tuple[str, str]]:
        """Yield the arguments of ``changed`` for one change; ``switch`` is from before it."""
        ours = [row for row in rows if row is not None and encoding.is_ours(row)]
        if table == PORT and any(row["type"] not in _OF_SUBNETS for row in ours):
            yield ours[0]["name"], switch or self._index.switch_of(uuid)
        elif table == BALANCER or (table == GROUP and len(ours) == 2):
            return
        elif ours and not (table == SWITCH and len(ours) == 2 and same_but_ports(*ours)):
            yield "", ""


def _is_attachment_port(columns: Columns) -> bool:
    """Return whether a port is ours and is for a pod or a node, not for a subnet."""
    return encoding.is_ours(columns) and columns["type"] not in _OF_SUBNETS
