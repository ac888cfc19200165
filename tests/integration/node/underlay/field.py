"""The node, the router and the agent of the tests of provider networks.

The assertions use iproute2 and ovs-vsctl. Open vSwitch has its userspace datapath here, on which
the NIC keeps what the kernel has on it: the tests judge states, and traffic only where it is told.
"""

import asyncio
import os
import re
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integration.node.ovs.vswitch import TIMEOUT_FACTOR, PrivateSwitch
from integration.node.spaces import Space
from kit.memory import NoWatch, Recorded
from ovnlet.core.errors import OvnletError
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources.underlay import UplinkPort
from ovnlet.core.underlay.networks import Intent, ProviderIdentity, ProviderNetwork, of_node
from ovnlet.core.underlay.record import Record
from ovnlet.drivers.ovs.uplink_rows import UplinkRows
from ovnlet.drivers.store.journal import Journal
from ovnlet.drivers.uplink_host import UplinkHost
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.provider import ProviderScope
from ovnlet.reconcile.scopes.provider_reports import Labels, ProviderReports

BRIDGE = "br-net1"
# `system` is the kernel's, which the tests have in a virtual machine.
DATAPATH = os.environ.get("OVNLET_TEST_DATAPATH") or "netdev"
_NODE = """
link set eth0 up
address add 192.0.2.10/24 brd + dev eth0
address add 192.0.2.11/24 dev eth0
address add 198.51.100.10/32 dev eth0
address add 203.0.113.5/28 dev eth0 noprefixroute
address add 2001:db8::10/64 dev eth0 nodad
route add default via 192.0.2.1 mtu 1400 dev eth0
route add 203.0.113.0/28 dev eth0 metric 77 src 203.0.113.5
route add 10.98.0.0/16 nexthop via 192.0.2.1 dev eth0 weight 2 nexthop via 192.0.2.2 dev eth0
route add 10.99.0.0/16 via 192.0.2.1 dev eth0 table 100 metric 5
route add 10.97.0.0/16 via 198.51.100.77 dev eth0 onlink
-6 route add default via 2001:db8::1 dev eth0
-6 route add 2001:db8:9::/48 via 2001:db8::1 dev eth0 table 100
rule add iif eth0 lookup 100 priority 50
address add 192.0.2.12/24 dev eth0 valid_lft 36000 preferred_lft 36000
address add 2001:db8:7::10/64 dev eth0 nodad mngtmpaddr valid_lft 36000 preferred_lft 36000
neighbour add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
"""


class Field:
    """The two namespaces, joined by the uplink, and the daemons."""

    def __init__(self, node: Space, router: Space, directory: Path) -> None:
        self.node, self.router, self.directory = node, router, directory
        self.switch = PrivateSwitch(directory)
        self.journal = directory / "journal"
        self.before: dict[str, list[str]] = {}
        self._api: socket.socket | None = None

    def start(self) -> None:
        for space in (self.node, self.router):
            space.ip("link", "set", "lo", "up")
        self.lay_uplink()
        self.configure()
        self.serve_api()
        self.start_switch()

    def configure(self) -> None:
        """Give the NIC what the host's own configuration gives it."""
        for line in filter(None, _NODE.splitlines()):
            self.node.ip(*line.split())

    def lay_uplink(self) -> None:
        """Join the namespaces by the uplink; the node's end is down and has no addresses."""
        self.node.ip(*f"link add eth0 type veth peer name up0 netns {self.router.name}".split())
        for space, link in ((self.node, "eth0"), (self.router, "up0")):
            # The userspace datapath does not fill in checksums that a veth leaves open.
            command = ["ip", "netns", "exec", space.name, "ethtool", "-K", link, "tx", "off"]
            subprocess.run(command, check=True, capture_output=True, timeout=20 * TIMEOUT_FACTOR)
        self.router.ip("link", "set", "up0", "address", "02:00:00:00:00:01")
        self.router.ip("address", "add", "192.0.2.1/24", "dev", "up0")
        self.router.ip("address", "add", "2001:db8::1/64", "dev", "up0", "nodad")
        self.router.ip("link", "set", "up0", "up")

    def start_switch(self) -> None:
        """Start both daemons with a database that has the integration bridge."""
        self.switch.start_server()
        self.switch.vsctl(
            "add-br", "br-int", "--", "set", "bridge", "br-int", f"datapath_type={DATAPATH}"
        )
        self.start_vswitchd()

    def start_vswitchd(self) -> None:
        self.switch.start_vswitchd("nsenter", f"--net={self.node.path}")

    def stop(self) -> None:
        self.switch.stop()
        self.stop_api()

    def serve_api(self) -> None:
        """Accept connections as an API server does; nobody reads them."""
        with self.router.inside():
            self._api = socket.create_server(("192.0.2.1", 6443), backlog=4096)

    def change_vlan(self) -> None:
        """Put the node into a VLAN without its router, as a switch with a wrong port does."""
        for address in ("192.0.2.1/24", "2001:db8::1/64"):
            self.router.ip("address", "del", address, "dev", "up0")

    def stop_api(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    def of_link(self, name: str) -> dict[str, Any]:
        """Return all that iproute2 shows of a link but counters, with `LINK` in place of its name.

        What is left of a lifetime is not shown, only that there is one. Link-local addresses of
        IPv6, and the routes that follow from them, belong to each link.
        """
        shows = ("address show dev", "-4 route show table all dev", "-6 route show table all dev")
        if name not in self.node.links():
            return {}
        shown = [self.node.ip(*f"{words} {name}".split()) for words in shows]
        # A moved address of an advertisement is checked for duplicates no more.
        checked = re.sub(r" nodad\b| proto kernel_ra\b", "", shown[0])
        addresses = sorted(re.findall(r"(inet6? (?!fe80).*)", checked))
        listed = re.sub(r"expires \d+sec", "expires", "\n".join(shown[1:]))
        routes = [line for line in listed.splitlines() if "anycast" not in line]
        link_local = re.compile(r"^$|fe80|ff00")
        kept = sorted(line.strip() for line in routes if not link_local.search(line))
        rules = self.node.ip("rule").splitlines()
        static = self.node.ip("neighbour", "show", "dev", name, "nud", "permanent").splitlines()
        several = self.node.ip("route", "show", "10.98.0.0/16").replace("\n", " ")
        found = {
            "addresses": addresses,
            "routes": kept,
            "hops": [several] if f"dev {name} " in several else [],
            "rules": [line for line in rules if f"iif {name} " in line],
            "neighbours": [line for line in static if "02:00:00:00:00:77" in line],
        }
        own = re.compile(rf"\b{name}\b")
        return {
            kind: [own.sub("LINK", line).replace(" linkdown", "") for line in lines]
            for kind, lines in found.items()
        }

    @property
    def in_bridge(self) -> bool:
        return (
            "eth0" in self.switch.vsctl("list-ports", BRIDGE).split() if self.has_bridge else False
        )

    @property
    def has_bridge(self) -> bool:
        return BRIDGE in self.switch.vsctl("list-br").split()

    def reaches(self, address: str = "192.0.2.1") -> bool:
        """Return whether the node gets an answer from an address within some seconds."""
        command = ["ip", "netns", "exec", self.node.name, "ping", "-c1", "-w5", address]
        within = 20 * TIMEOUT_FACTOR
        done = subprocess.run(command, capture_output=True, timeout=within, check=False)
        return done.returncode == 0

    def ids(self, name: str) -> str:
        """Return a key of Open_vSwitch.external_ids, empty without it."""
        words = ("--if-exists", "get", "Open_vSwitch", ".", f"external_ids:{name}")
        return self.switch.vsctl(*words).strip('"')


class MortalHost(UplinkHost):
    """A host that ends the agent after ``steps`` steps, and counts them.

    ``joined`` is called once, when the NIC is in the bridge, before the next step: what the move
    needs may then vanish, and the move cannot be over before.
    """

    steps: int | None = None
    done = 0
    dead: asyncio.Event
    joined: Callable[[], None] = staticmethod(lambda: None)

    async def apply(self, identity: ProviderIdentity, plan: Plan) -> None:
        for step in plan:
            if self.steps is not None and self.done >= self.steps:
                self.dead.set()
                await asyncio.Event().wait()  # a process that has ended does nothing more
            await super().apply(identity, (step,))
            self.done += 1
            if isinstance(step.resource, UplinkPort) and step.verb is Verb.ENSURE:
                joined, self.joined = self.joined, lambda: None
                joined()


@dataclass
class Told:
    """The Events and the labels."""

    events: list[tuple[str, str]]
    labels: Labels = frozenset()

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]


class Agent:
    """The loop with the scope of provider networks; another one is the agent restarted."""

    def __init__(
        self, field: Field, *, timeout: float = 10.0, die_after: int | None = None
    ) -> None:
        self.field, self.loop, self.told = field, Loop(), Told([])
        self.rows = UplinkRows(str(field.switch.socket), "br-int", self.loop.add_all)
        self.host = MortalHost(self.rows, "https://192.0.2.1:6443")
        self.host.steps, self.host.dead = die_after, asyncio.Event()
        reports = ProviderReports(
            lambda _, __, reason, text: self.told.events.append((reason, text)),
            lambda labels: setattr(self.told, "labels", labels),
            self.host.mtu,
        )
        self.journal, self.status = Journal(field.journal), Recorded("provider")
        self.scope = ProviderScope(
            self.host,
            self.journal,
            self.loop.passes("provider"),
            self.status,
            reports,
            watch=NoWatch(),
            timeout=timeout * TIMEOUT_FACTOR,
            script=0,
        )
        self.loop.keep("provider", self.scope)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks.append(asyncio.create_task(self.rows.run()))
        await self.rows.ready()
        self.scope.load()
        self._tasks.append(asyncio.create_task(self.scope.run()))

    async def stop(self) -> None:
        """End like a process that is killed: nothing is cleaned up."""
        passes = [entry.task for entry in self.loop.queue._entries.values() if entry.task]
        for task in [*self._tasks, *passes]:
            task.cancel()
        timers = (self.scope._moves._timers, self.scope._leases._timers)
        for timer in [each for every in timers for each in every.values()]:
            timer.cancel()
        await asyncio.gather(*self._tasks, *passes, return_exceptions=True)
        await self.loop.queue.close()

    def put(self, vlans: Sequence[int] = (), **spec: str) -> None:
        """Give the node a ProviderNetwork `net1` with this spec; without one, none."""
        networks = [ProviderNetwork("net1", "u-1", len(str(spec)), False, spec)] if spec else []
        wanted = of_node("n1", {}, networks, [], self.scope.held)
        if vlans and wanted.intents:
            had = wanted.intents["net1"]
            trunks = tuple(sorted({0, *vlans}))
            now = Intent(had.network, had.nic, had.bridge, trunks, had.version)
            wanted = type(wanted)({"net1": now}, wanted.refused, wanted.excluded)
        self.scope.put(wanted)

    @property
    def record(self) -> Record | None:
        return next(iter(self.journal.read()), None)

    async def run(self) -> None:
        """Run a pass, as a hint does."""
        await self.synced()
        await self.loop.passes("provider").run("net1")

    async def synced(self) -> None:
        """Wait until the agent has seen every commit so far: a session keeps their order.

        A slow test blocks the event loop, and ovsdb-server ends a session that does not answer.
        """
        comment = {"op": "comment", "comment": "synced"}
        async with asyncio.timeout(30 * TIMEOUT_FACTOR):
            while True:
                with suppress(OvnletError):
                    await self.rows.ready()
                    await self.rows._database.transact([comment])
                    return
                await asyncio.sleep(0.1)

    async def phase(self, phase: str | None, within: float = 30.0) -> None:
        """Wait until the record on disk has this phase; None until there is none."""
        async with asyncio.timeout(within * TIMEOUT_FACTOR):
            while (self.record.phase if self.record else None) != phase:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
