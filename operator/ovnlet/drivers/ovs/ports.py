"""The ports of the local Open vSwitch: which are ours, and the steps that make them right.

A port is ours if the external_ids of its Port or of its Interface have our mark. A port that has
the name of an attachment's port is ours too, if its labels are those of the attachment's pod: then
kube-ovn-cni created it, and it is adopted.

`Ovs` is the facade of this package. How rows are written is decided in `operations` and `qos_rows`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.identity import PortIdentity
from ovnlet.core.resources import DuplicateIfaceId, Network, Port
from ovnlet.drivers.ovs import hints, operations, qos_rows, row_waits
from ovnlet.drivers.ovs.config_barrier import ConfigBarrier
from ovnlet.drivers.ovs.forwarding import Forwarding
from ovnlet.drivers.ovs.installed import InstalledTracker, installed, no_recompute, plugged
from ovnlet.drivers.ovs.operations import CHASSIS_IDS
from ovnlet.drivers.ovs.reapply import Reapply
from ovnlet.drivers.ovs.row_waits import RowWaits
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovs.writing import Writer
from ovnlet.drivers.ovsdb.replica import Change, Replica
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

# Only the columns that are read. Column `statistics` of each Interface changes every 5 s.
_TABLES = {
    "Open_vSwitch": ("external_ids", "cur_cfg", "next_cfg"),
    "Bridge": ("name", "ports", "datapath_type", "fail_mode"),
    "Port": ("name", "interfaces", "external_ids", "qos"),
    "Interface": ("name", "external_ids", "ofport", "error", *hints.LINK, *qos_rows.POLICING),
    **qos_rows.TABLES,
}
# Callers of one transaction. The links of the first wait until the rows of the last are built.
_AT_ONCE = 256
# Seconds without an answer until OVSDB counts as faulty.
_SILENCE_LIMIT = 4.0


class Ovs:
    """One node's Open vSwitch.

    ``changed(mark, name)`` is a hint: this port changed in what is compared. The mark is empty if
    the port has none. ``resync()`` asks to check everything: a new session began, or the bridge or
    the chassis keys changed. ``record_install_time(seconds)`` gets the time that OVN needed for
    each new port. All three run in the event loop and must not block.
    """

    def __init__(  # noqa: PLR0913 - what it needs of the node, each by its name
        self,
        path: str,
        bridge: str,
        *,
        changed: Callable[[str, str], None] = lambda _mark, _name: None,
        resync: Callable[[], None] = lambda: None,
        link_exists: Callable[[str], bool] = row_waits.link_exists,
        recompute: Callable[[], Awaitable[None]] = no_recompute,
        record_install_time: Callable[[float], None] = lambda _: None,
        forwarding: Forwarding | None = None,
    ) -> None:
        self.bridge, self._forwarding = bridge, forwarding
        self._path, self._hint, self._resync = path, changed, resync
        self._database = Replica(
            path, "Open_vSwitch", _TABLES, changed=self._changed, reloaded=self._reloaded
        )
        self._batcher = TransactionBatcher(self._database, most=_AT_ONCE)
        self._index = VswitchIndex()
        self._barrier = ConfigBarrier(self._index, self._batcher, changed)
        self.reapply = Reapply(self._index, self._batcher, self._barrier)
        self._tracker = InstalledTracker(changed, record_install_time)
        self._waits = RowWaits(self._index, self._database, link_exists)
        self.writer = Writer(self._barrier, self._tracker, recompute, forwarding)

    async def run(self) -> None:
        """Follow the database until cancelled. Raise what is not foreseen, see ``Replica.run``."""
        await self._database.run()

    def start(self) -> None:
        """Start ``run`` in a task."""
        self._database.start()

    async def close(self) -> None:
        """Close the connection and wait until its task has ended."""
        await self._database.close()

    async def ready(self) -> None:
        """Wait until the rows are known. There is no time-out."""
        await self._database.connected.wait()

    @property
    def is_connected(self) -> bool:
        """Whether the rows are known and current."""
        return self._database.connected.is_set()

    async def ready_within(self, seconds: float) -> None:
        """Wait until the rows are known, up to ``seconds``. Raise NotReady after that.

        A network that is desired by rows of no session, or of a lost one, would be a wrong one.
        """
        if not self.is_connected:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._database.connected.wait(), seconds)
        self.require_connection()

    def health(self) -> str | None:
        """Return what is wrong with OVSDB; None if nothing is."""
        if not self.is_connected:
            return f"OVSDB at {self._path}: {self._database.fault}"
        silent = asyncio.get_running_loop().time() - self._database.last_answer
        return (
            f"OVSDB at {self._path} has not answered for {silent:.1f} s"
            if silent > _SILENCE_LIMIT
            else None
        )

    @property
    def datapath_type(self) -> str | None:
        """The type of the integration bridge's datapath.

        It is empty for the kernel's, `netdev` for userspace, and None without a bridge.
        """
        bridge = self._index.bridge(self.bridge)
        return str(bridge["datapath_type"]) if bridge else None

    @property
    def fail_mode(self) -> str:
        """The integration bridge's fail mode; empty without a bridge."""
        bridge = self._index.bridge(self.bridge)
        return str(bridge["fail_mode"] or "") if bridge else ""

    @property
    def userspace(self) -> bool:
        """Whether the integration bridge forwards in userspace."""
        return self.datapath_type == "netdev"

    @property
    def chassis(self) -> dict[str, str]:
        """OVN's chassis keys of Open_vSwitch.external_ids, those that are set."""
        root = self._index.root()
        return hints.chassis_ids(root[1]) if root else {}

    @property
    def installed_ports(self) -> int:
        """How many logical ports OVN reports as installed in the integration bridge."""
        return self._index.installed_ports(self.bridge)

    def is_installed(self, name: str) -> bool:
        """Return whether OVN reports this interface as installed."""
        return installed(self._index.interface(name))

    def is_plugged(self, name: str) -> bool:
        """Return whether ovs-vswitchd has this interface in its datapath."""
        return plugged(self._index.interface(name))

    def labelled(self) -> Iterator[tuple[str, str | None, Mapping[str, str]]]:
        """Yield name, mark and labels of ports that are ours or kube-ovn-cni's. Raise NotReady."""
        self.require_connection()
        yield from self._index.labelled()

    def holding(self, iface_id: str) -> Iterator[tuple[str, str | None, Mapping[str, str]]]:
        """Yield the same of each interface with that `iface-id`. Raise NotReady."""
        self.require_connection()
        yield from self._index.holding(iface_id)

    def shaped(self) -> set[str]:
        """Return the marks of the QoS and Queue rows, whether their ports exist or not."""
        return {*self._index.qos_by_mark, *self._index.queues_by_mark}

    def observe(self, identity: PortIdentity, desired: Network) -> Network:
        """Return what OVSDB has of this attachment.

        That is its ports with their limits, and any other interface that has the desired
        `iface-id`. Raise Taken if a foreign port has the desired name, NotReady without a
        connection.
        """
        self.require_connection()
        mark, own = identity.mark, identity.host_link
        owned = self._index.marked(mark)
        wanted = {port for port in desired if isinstance(port, Port)}
        iface_ids = {port.ids["iface-id"] for port in wanted if "iface-id" in port.ids}
        for name in {own, *(port.name for port in wanted)} - owned:
            if self._index.port(name) is None:
                continue
            if self._adoptable(name, identity, iface_ids):
                owned.add(name)
            elif name in {port.name for port in wanted}:
                bridge = self._index.bridge_of(name)
                raise Taken(f"OVS has a port {name} on {bridge} that is not ovnlet's")
        duplicates = (
            DuplicateIfaceId(name, iface_id)
            for iface_id in iface_ids
            for name in self._index.with_iface_id(iface_id) - owned
        )
        limits = qos_rows.observed(own, mark, self._index)
        return frozenset((*map(self._resource, owned), *limits, *duplicates))

    def _resource(self, name: str) -> Port:
        blocked = self._forwarding.flags(name) if self._forwarding else ()
        port, lost = self._index.resource(name), self._tracker.is_lost(name)
        return replace(port, uninstalled=lost, blocked=blocked) if lost or blocked else port

    def require_connection(self) -> None:
        """Raise NotReady without a connection: the rows of a lost one may be out of date."""
        if not self.is_connected:
            raise NotReady(f"OVSDB connection lost: {self._database.fault}")

    def _adoptable(self, name: str, identity: PortIdentity, iface_ids: Collection[str]) -> bool:
        """Return whether the unmarked port of that name was made for this identity."""
        interface = self._index.interface(name)
        labels = interface["external_ids"] if interface else {}
        return self._index.owner(name) is None and identity.adopts(labels, iface_ids)

    async def caught_up(self) -> None:
        """Wait until ovs-vswitchd has applied the present rows and links.

        Raise NotReady if that takes more than two seconds.
        """
        await self._barrier.sync()

    async def set_ids(self, external_ids: Mapping[str, str]) -> None:
        """Set these keys of Open_vSwitch.external_ids in one transaction. Raise NodeFault."""
        wanted = dict(external_ids)
        await self._batcher.commit(lambda: operations.root_ids(wanted, self._index))

    async def ensure_chassis(self, external_ids: Mapping[str, str], datapath_type: str) -> None:
        """Set OVN's chassis keys and create or correct the bridge.

        Only what differs is written, key by key. Raise ValueError for a key that is not a chassis
        key.
        """
        if unknown := external_ids.keys() - CHASSIS_IDS:
            raise ValueError(f"not chassis keys: {', '.join(sorted(unknown))}")
        wanted = dict(external_ids)
        await self._batcher.commit(
            lambda: operations.chassis(wanted, self.bridge, datapath_type, self._index)
        )

    async def call_controller(self) -> None:
        """Have ovn-controller connect to a bridge that was just recreated.

        By itself it tries at intervals of up to 8 s. Raise NotReady if ovs-vswitchd has not applied
        the bridge's rows within two seconds.
        """
        await self._barrier.sync()
        await self._batcher.commit(lambda: operations.toggle_remote(self.bridge, self._index))

    async def plugged(self, name: str) -> None:
        """Wait until ovs-vswitchd has the port in its datapath. There is no time-out.

        Raise NodeFault if ovs-vswitchd reports that it cannot add the port.
        """
        await self._waits.plugged(name)

    async def plugged_and_installed(self, name: str) -> None:
        """Wait until both daemons are done with the port. Raise NodeFault as ``plugged`` does."""
        await self._waits.plugged_and_installed(name)

    async def installed(self, name: str) -> None:
        """Wait until ovn-controller has installed this interface's flows. There is no time-out."""
        await self._waits.installed(name)

    def _reloaded(self) -> None:
        self._index.reload(self._database.rows)
        self._tracker.reset()
        for row in self._database.rows["Interface"].values():
            self._tracker.change(None, row)
        self._waits.wake_all()
        self._barrier.root_changed()
        self._resync()

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._index.change(*change)
        for table, _, old, new in changes:
            if table == "Interface":
                self._tracker.session_change(old, new)
                self._waits.wake((new or old or {})["name"])
        found = {hint for change in changes for hint in hints.hints_of(self._index, *change)}
        for mark, name in found:
            self._hint(mark, name)
        if "Open_vSwitch" in {table for table, *_ in changes}:
            self._barrier.root_changed()
        if any(hints.affects_all(self.bridge, table, old, new) for table, _, old, new in changes):
            self._resync()
