"""Ports of Open vSwitch, by its own database: what is ours there, and the steps to make it right.

Ours is what bears our mark in the external_ids of its Port or its Interface. The name that an
attachment's port has to have is ours too, if its rows bear the labels of that attachment's pod
(kube-ovn-cni made it, and it is adopted). Maps are written key by key: `ovn-installed` and the keys
of strangers stand in them too.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from ovnlet.core import ids
from ovnlet.core.errors import NodeFault, NotReady, Taken
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import DuplicateIfaceId, Network, Port
from ovnlet.drivers.ovs import hints, operations, qos_rows
from ovnlet.drivers.ovs.config_barrier import ConfigBarrier
from ovnlet.drivers.ovs.installed import InstalledTracker, installed
from ovnlet.drivers.ovs.operations import CHASSIS_IDS
from ovnlet.drivers.ovs.reapply import Reapply
from ovnlet.drivers.ovs.vswitch_index import VswitchIndex
from ovnlet.drivers.ovsdb.replica import Change, Replica, Row
from ovnlet.drivers.ovsdb.transaction_batcher import TransactionBatcher

# `statistics` of each Interface changes every 5 s: a column that is not read is not asked for.
_TABLES = {
    "Open_vSwitch": ("external_ids", "cur_cfg", "next_cfg"),
    "Bridge": ("name", "ports", "datapath_type", "fail_mode"),
    "Port": ("name", "interfaces", "external_ids", "qos"),
    "Interface": (
        "name",
        "external_ids",
        "ofport",
        "error",
        "type",
        "mac",
        "mtu_request",
        *qos_rows.POLICING,
    ),
    **qos_rows.TABLES,
}
_SILENCE = 4.0
_PATIENCE = 2.0


def _link_exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


async def _no_recompute() -> None:
    raise NodeFault("there is no ovn-controller to ask for a recompute")


class Ovs:
    """One node's Open vSwitch.

    ``changed(mark, name)`` is a hint that a port or interface changed in what is compared (an empty
    mark: it has none). ``lost()`` asks for a look at everything: a new session, or the bridge or the
    chassis changed. Both are called in the event loop and must not wait.
    """

    def __init__(  # noqa: PLR0913 - what it needs of the node, each by its name
        self,
        path: str,
        bridge: str,
        *,
        changed: Callable[[str, str], None] = lambda _mark, _name: None,
        lost: Callable[[], None] = lambda: None,
        link_exists: Callable[[str], bool] = _link_exists,
        recompute: Callable[[], Awaitable[None]] = _no_recompute,
        took: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.bridge = bridge
        self._path, self._hint, self._lost, self._link_exists = path, changed, lost, link_exists
        self._recompute = recompute
        self._database = Replica(
            path, "Open_vSwitch", _TABLES, changed=self._changed, renewed=self._renewed
        )
        self._commits = TransactionBatcher(self._database)
        self._switch = VswitchIndex()
        self._pace = ConfigBarrier(self._switch, self._commits, changed)
        self.renewal = Reapply(self._switch, self._commits, self._pace)
        self._bindings = InstalledTracker(changed, took)
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def start(self) -> None:
        self._database.start()

    async def close(self) -> None:
        await self._database.close()

    async def ready(self) -> None:
        """Return once the rows are known."""
        await self._database.connected.wait()

    def health(self) -> str | None:
        """What is wrong with OVSDB; None if nothing is."""
        if not self._database.connected.is_set():
            return f"OVSDB at {self._path}: {self._database.fault}"
        silent = asyncio.get_running_loop().time() - self._database.last_answer
        return (
            f"OVSDB at {self._path} has not answered for {silent:.1f} s"
            if silent > _SILENCE
            else None
        )

    @property
    def datapath_type(self) -> str | None:
        """Of the integration bridge: empty for the kernel's, `netdev` for userspace; None without a bridge."""
        bridge = self._switch.bridge(self.bridge)
        return str(bridge["datapath_type"]) if bridge else None

    @property
    def userspace(self) -> bool:
        return self.datapath_type == "netdev"

    @property
    def chassis(self) -> dict[str, str]:
        """OVN's keys of Open_vSwitch.external_ids, as far as they are set."""
        root = self._switch.root()
        return (
            {k: v for k, v in root[1]["external_ids"].items() if k in CHASSIS_IDS} if root else {}
        )

    def is_installed(self, name: str) -> bool:
        """Whether OVN holds this interface for installed."""
        return installed(self._switch.interface(name))

    def is_plugged(self, name: str) -> bool:
        return ((self._switch.interface(name) or {}).get("ofport") or 0) > 0

    def labelled(self) -> Iterator[tuple[str, str | None, Mapping[str, str]]]:
        """Name, mark and labels of each port that bears our mark or kube-ovn-cni's labels, on whichever bridge."""
        self._require()
        for name in self._switch.interfaces:
            interface = self._switch.interface(name)
            mark = self._switch.owner(name)
            labels = interface["external_ids"] if interface else {}
            if mark or (labels.get("vendor") == "kube-ovn" and labels.get("pod_netns")):
                yield name, mark, labels

    def shaped(self) -> set[str]:
        """The marks of the QoS and Queue rows: ours, whether their port is there or not."""
        return {*self._switch.qos_marks, *self._switch.queue_marks}

    def observe(self, attachment: Attachment, desired: Network) -> Network:
        """This attachment's ports and their limits, and the other interfaces that claim the desired `iface-id`.

        Raises Taken where a stranger's port has the desired name, NotReady without a connection.
        """
        self._require()
        mark, own = attachment.mark, attachment.host_link
        mine = self._switch.marked(mark)
        wanted = {port for port in desired if isinstance(port, Port)}
        iface_ids = {port.ids["iface-id"] for port in wanted if "iface-id" in port.ids}
        for name in {own, *(port.name for port in wanted)} - mine:
            if self._switch.port(name) is None:
                continue
            if self._adoptable(name, attachment, iface_ids):
                mine.add(name)
            elif name in {port.name for port in wanted}:
                raise Taken(
                    f"OVS has a port {name} on {self._switch.bridge_of(name)} that is not ovnlet's"
                )
        return frozenset(
            (
                *(self._resource(name) for name in mine),
                *(qos_rows.observed(own, mark, self._switch)),
                *(
                    DuplicateIfaceId(name, claimed)
                    for claimed in iface_ids
                    for name in self._switch.claimants(claimed) - mine
                ),
            )
        )

    def _resource(self, name: str) -> Port:
        return replace(self._switch.resource(name), uninstalled=self._bindings.is_lost(name))

    def _require(self) -> None:
        """Rows of a lost connection would be believed for the present ones."""
        if not self._database.connected.is_set():
            raise NotReady(f"OVSDB connection lost: {self._database.fault}")

    def _adoptable(self, name: str, attachment: Attachment, iface_ids: Collection[str]) -> bool:
        """Whether kube-ovn-cni, or we with our mark lost, made the port of that name for this pod."""
        labels = (self._switch.interface(name) or {"external_ids": {}})["external_ids"]
        if attachment.is_node:
            return self._switch.owner(name) is None and labels.get("iface-id") in iface_ids
        pod = (labels.get("vendor"), labels.get("pod_namespace"), labels.get("pod_name"))
        return self._switch.owner(name) is None and pod == ("kube-ovn", *attachment.owner)

    async def apply(self, steps: Sequence[Step]) -> None:
        """Commit steps, together with whatever else is being committed.

        Raises NodeFault with the server's text: nothing of these steps was done. NotReady, a
        time-out and a cancelled wait say nothing of the outcome.
        """
        try:
            await self._pace.commit(steps)
        except NodeFault as error:
            raise NodeFault(f"OVS: {'; '.join(str(step) for step in steps)}: {error}") from error
        await self._rebind({name for step in steps for name in _rebinding(step)})

    async def _rebind(self, names: set[str]) -> None:
        """Have OVN install anew what it lost sight of; the look that follows tells whether it did."""
        if not names:
            return
        await self._recompute()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*map(self.installed, names))

    async def caught_up(self) -> None:
        """Return once ovs-vswitchd has taken in the rows and links there are; NotReady if that takes too long."""
        await self._pace.ask()

    async def ensure_chassis(self, external_ids: Mapping[str, str], datapath_type: str) -> None:
        """Make OVN's chassis keys and the bridge so, key by key; nothing is written that is so already."""
        if unknown := external_ids.keys() - CHASSIS_IDS:
            raise ValueError(f"not keys of a chassis: {', '.join(sorted(unknown))}")
        wanted = dict(external_ids)
        await self._commits.commit(
            lambda: operations.chassis(wanted, self.bridge, datapath_type, self._switch)
        )

    async def call_controller(self) -> None:
        """Have ovn-controller connect to a bridge made anew: by itself it tries at intervals of up to 8 s."""
        await self._pace.ask()
        await self._commits.commit(lambda: operations.respell_remote(self.bridge, self._switch))

    async def plugged(self, name: str) -> None:
        """Return when ovs-vswitchd has the port in its datapath; NodeFault if it tells that it cannot."""

        def is_plugged(row: Row) -> bool:
            if (row["ofport"] or 0) > 0:
                return True
            # Rows come before their links: a missing device may be the state before.
            if row["error"] and "No such device" not in row["error"] and self._link_exists(name):
                raise NodeFault(f"ovs-vswitchd on {name}: {row['error']}")
            return False

        await self._until(name, is_plugged)

    async def installed(self, name: str) -> None:
        """Return when ovn-controller has installed the flows of this interface."""
        await self._until(name, installed)

    async def _until(self, name: str, so: Callable[[Row], bool]) -> None:
        """Wait for a row's change, through lost connections: only the caller knows how long."""
        with self._watching(name) as event:
            while True:
                row = self._switch.interface(name) if self._database.connected.is_set() else None
                if row is not None and so(row):
                    return
                await event.wait()
                event.clear()

    @contextmanager
    def _watching(self, name: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[name].discard(event)
            if not self._waiting[name]:
                del self._waiting[name]

    def _renewed(self) -> None:
        self._switch.renew(self._database.rows)
        self._bindings.forget()
        for row in self._database.rows["Interface"].values():
            self._bindings.change(None, row)
        for event in (event for events in self._waiting.values() for event in events):
            event.set()
        self._pace.changed()
        self._lost()

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._switch.change(*change)
        for table, _, old, new in changes:
            if table == "Interface":
                self._bindings.follow(old, new)
                for event in self._waiting.get((new or old or {})["name"], ()):
                    event.set()
        for mark, name in {hint for change in changes for hint in hints.of(self._switch, *change)}:
            self._hint(mark, name)
        if "Open_vSwitch" in {table for table, *_ in changes}:
            self._pace.changed()
        if any(self._affects_all(table, old, new) for table, _, old, new in changes):
            self._lost()

    def _affects_all(self, table: str, old: Row | None, new: Row | None) -> bool:
        if table == "Open_vSwitch":
            return _chassis(old) != _chassis(new)
        if table != "Bridge" or self.bridge not in {row["name"] for row in (old, new) if row}:
            return False
        before, after = ({**row, "ports": None} if row else None for row in (old, new))
        return before != after


def _rebinding(step: Step) -> Iterator[str]:
    if step.verb is Verb.ENSURE and isinstance(step.was, Port) and step.was.uninstalled:
        yield step.was.name


def _chassis(row: Row | None) -> dict[str, str] | None:
    return {k: v for k, v in row["external_ids"].items() if k in CHASSIS_IDS} if row else None
