"""The scope of provider networks: NICs of the node that join a bridge, with the node's addresses.

Nothing is moved that no ProviderNetwork names. A move is a transaction: its record is on the disk
before its first step. Until all who answered before answer again, the move is not settled; if they
do not in time, everything goes back.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from ovnlet.core.errors import NodeFault, NotConverged, OvnletError, Unsafe
from ovnlet.core.resources import LinkEntry, Network
from ovnlet.core.settings import Repair
from ovnlet.core.underlay.networks import Intent, ProviderIdentity, Wanted
from ovnlet.core.underlay.record import Record, on_bridge
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.leases import SCRIPT, Leases
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.moves import Journal, Moves
from ovnlet.reconcile.outcome import Notice, Outcome, Target
from ovnlet.reconcile.scopes.provider_reports import ProviderReports
from ovnlet.reconcile.status import Status
from ovnlet.reconcile.uplink_host import AnyTime, Follower, ProviderHost, Turn

log = structlog.get_logger("underlay")

# Seconds between two looks at who answers, at networks that wait, and the time that the API server
# has to answer on the NIC again before it counts as away for reasons of its own.
_PAUSE, _WAIT, _BACK = 0.2, 5.0, 5.0
_NO_API = "the API server does not answer, so a move could not be proved: it is not begun yet"


class ProviderScope:
    """One key for each provider network that has a record, or that this node wants."""

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: ProviderHost,
        journal: Journal,
        passes: Passes,
        status: Status,
        reports: ProviderReports,
        *,
        watch: Follower,
        timeout: float = 30.0,
        repair: Repair = "fix",
        turn: Turn | None = None,
        now: Callable[[], float] = time.time,
        script: float = SCRIPT,
    ) -> None:
        self.host, self.status = host, status
        self._passes, self._reports, self._repair, self._watch = passes, reports, repair, watch
        self._moves = Moves(journal, self._ask, timeout)
        self._leases, self._now = Leases(self._end, self._ask, now, script), now
        self._turn = turn or AnyTime()
        self._wanted: Wanted | None = None
        self._due = asyncio.Event()
        self.active = asyncio.Event()

    def load(self) -> None:
        """Read the records, and begin the way back of what was not settled. Raise NodeFault."""
        self._moves.load()
        if list(self._moves):
            self.active.set()

    @property
    def held(self) -> Mapping[str, str]:
        """The networks that have a NIC, by the NIC."""
        return self._moves.held

    def put(self, wanted: Wanted) -> None:
        """Take what all networks want of this node, once all of them are known."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._reports.wanted(wanted)
        for record in self._moves:
            # A network that is refused keeps what it has: its object may just be edited wrongly.
            if record.intent.network not in wanted.refused:
                self._follow(record, wanted.intents.get(record.intent.network))
        if wanted.intents:
            self.active.set()
        self._reports.show(self._moves)
        self._due.set()

    def every_key(self) -> Iterator[str]:
        """Yield each network, by its name."""
        yield from dict.fromkeys([*(each.intent.network for each in self._moves), *self._intents])

    def identity_of(self, own: str, /) -> ProviderIdentity:
        """Return what the key stands for."""
        return ProviderIdentity(own)

    def addresses(self, own: str, /) -> str:
        """Return the node's addresses that are on the bridge, separated by commas."""
        record = self._moves.get(own)
        entries = record.found.entries if record and record.on_bridge else ()
        return ",".join(each.text.partition("/")[0] for each in entries if each.kind == "address")

    def missing_inputs(self, own: str, /) -> str | None:
        """Return in words what the move waits for; None if it is under way."""
        return None if self._moves.get(own) else "its NIC was not moved yet"

    def target(self, own: str, /) -> Target | None:
        """Return all on the bridge, or all on the NIC; None without a record, or amid a script.

        What has come to the link that the node leaves is moved as well, and recorded before.
        """
        record = self._moves.get(own)
        if record is None or record.phase == "held":
            return None
        nic, bridge = record.intent.nic, record.intent.bridge
        on_bridge = self.host.entries(bridge) if record.on_bridge else ()
        on_nic = self.host.entries(nic) if record.on_bridge else self.host.entries(nic, bridge)
        if record.phase == "settled" and self._leases.is_amid_script(own, on_nic):
            return None
        grown = record.refreshed(on_nic, on_bridge, self._now())
        self._moves.write(grown)
        self._watch_leases(grown, on_nic)
        # What a client renews is no drift, whatever the settings say of that.
        forced = grown.phase != "settled" or any(each.is_leased for each in on_nic)
        found = self.host.disputes(grown.intent) if record.on_bridge else ()
        notices = tuple(Notice("UplinkDisputed", f"{nic} {each}") for each in found)
        own_id, desired = ProviderIdentity(own), grown.desired()
        return Target(own_id, desired, self._repair, edited=forced, notices=notices)

    def _watch_leases(self, record: Record, on_nic: Iterable[LinkEntry]) -> None:
        """Follow the leases of a settled move, and report them."""
        if record.phase == "settled":
            self._leases.look(record, on_nic)
            self._reports.leased(record)

    def wanted(self, own: str, /) -> Network:
        """Return what is desired; before a move, what it would be. Raise Unsafe or NodeFault."""
        if (record := self._moves.get(own)) is not None:
            return record.desired()
        intent = self._intents[own]
        return on_bridge(intent, self.host.capture(intent))

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Report, and wait for the answers after a move. Raise NodeFault where it goes back."""
        record = self._moves.get(own)
        if record is None or record.desired() != outcome.desired:
            return  # it has changed meanwhile, and another pass was asked for
        self.status.settled(own, outcome)
        self._watch.follow(self._passes.key(own), record.intent.bridge, record.intent.nic)
        if record.phase == "moving":
            await self._prove(record)
        elif record.phase == "returning":
            await self._returned(record)
        if record.on_bridge:
            self._leases.moved(own)
        self._reports.show(self._moves)

    def failed(self, own: str, error: OvnletError, /, *, awaited: bool) -> None:
        """Report a failed pass. A move that the node refuses goes back at once."""
        record = self._moves.get(own)
        refused = isinstance(error, NodeFault | NotConverged | Unsafe)
        if record is not None and record.phase == "moving" and refused:
            self._moves.go_back(own, str(error), again=False)
        if not awaited:
            self.status.failed(ProviderIdentity(own), error)

    def throttled(self, own: str, reason: Reason, /) -> None:
        """Report that hints wait for the budget."""
        self.status.throttled(own, ProviderIdentity(own), reason)

    async def run(self) -> None:
        """Begin the moves that are wanted, one after the other, until cancelled."""
        while True:
            if not self._moves.under_way:
                await self._turn.release()
            for intent in list(self._intents.values()):
                await self._begin(intent)
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT):
                    await self._due.wait()
            self._due.clear()

    async def _begin(self, intent: Intent) -> None:
        """Begin a move: ask who answers, capture, record. Do nothing while it must wait.

        It waits while another one is under way: what does not answer then would not say why.
        """
        record = self._moves.get(intent.network)
        if record is not None and not (record.phase == "held" and record.again):
            return
        if self._moves.under_way:
            return
        try:
            await self.host.ready()
            self.host.capture(intent)
            checks = await self.host.checks(intent)
            if not any(map(_is_api, checks)):
                self._reports.refused(intent.network, _NO_API)
            elif not await self._turn.taken():
                log.info("another node moves an uplink", nic=intent.nic)
            elif self._intents.get(intent.network) == intent:
                self._moves.begin(Record(intent, self.host.capture(intent), "moving", checks))
        except Unsafe as error:
            self._reports.refused(intent.network, str(error))
        except OvnletError as error:
            log.warning("an uplink cannot be moved yet", nic=intent.nic, why=str(error))

    async def _prove(self, record: Record) -> None:
        """Wait until all who answered before answer on the bridge. Raise NodeFault if not in time.

        The timer of the move ends it: that runs since the move began.
        """
        silent = "it was not asked yet"
        while silent and (now := self._moves.get(record.intent.network)) is not None:
            if now.phase != "moving":
                raise NodeFault(f"{now.intent.nic} goes back: {now.why}")
            silent = await self.host.silent(now.intent.bridge, now.checks)
            if self._moves.get(now.intent.network) != now:  # the timer may have ended it
                silent = silent or "it must be asked again"
            elif silent:
                self._moves.write(replace(now, why=f"{silent} does not answer"))
                await asyncio.sleep(_PAUSE)
            else:
                self._moves.settle(now.intent.network)
                self._reports.moved(now.intent)
                self._watch_leases(replace(now, phase="settled"), ())
                self._due.set()

    async def _returned(self, record: Record) -> None:
        """Hold the network where its move failed; forget it where it is not wanted any more."""
        intent, name = record.intent, record.intent.network
        if self._wanted is not None and name not in {**self._intents, **self._wanted.refused}:
            self._forget(name)
            self._reports.removed(intent)
            return
        again = record.again or self._is_new(intent) or await self._api_is_away(record)
        self._moves.write(replace(record, phase="held", again=again))
        self._reports.went_back(intent, record.why, again=again)
        self._due.set()

    async def _api_is_away(self, record: Record) -> bool:
        """Return whether the move failed for an API server that is silent on the NIC too."""
        if not _is_api(record.why):
            return False
        end = asyncio.get_running_loop().time() + _BACK
        apis = tuple(filter(_is_api, record.checks))
        while await self.host.silent(record.intent.nic, apis):
            if asyncio.get_running_loop().time() >= end:
                return True
            await asyncio.sleep(_PAUSE)
        return False

    def _follow(self, record: Record, intent: Intent | None) -> None:
        """Act on a change of the object: go back, begin again, or change the trunks."""
        had, name = record.intent, record.intent.network
        if record.phase == "held":
            if intent is None or self._is_new(had):
                self._forget(name)
        elif record.phase != "returning" and (
            intent is None or (intent.nic, intent.bridge) != (had.nic, had.bridge)
        ):
            why = "the ProviderNetwork wants another NIC" if intent else "not wanted on this node"
            self._moves.go_back(name, why, again=True)
        elif record.phase == "settled" and intent is not None and intent != had:
            self._moves.write(replace(record, intent=intent))
            self._ask(name)

    @property
    def _intents(self) -> Mapping[str, Intent]:
        return self._wanted.intents if self._wanted is not None else {}

    def _is_new(self, had: Intent) -> bool:
        """Return whether the object was edited since."""
        return had.version != self._intents.get(had.network, had).version

    def _ask(self, name: str) -> None:
        self._passes.force(name)
        self._passes.add(name)

    def _end(self, name: str, why: str) -> None:
        """Give everything back for good, if the move is settled."""
        self._leases.forget(name)
        if (record := self._moves.get(name)) is not None and record.phase == "settled":
            self._moves.go_back(name, why, again=False)

    def _forget(self, name: str) -> None:
        self._leases.forget(name)
        self._moves.forget(name)
        self._watch.forget(self._passes.key(name))
        self.status.forget(name)


def _is_api(check: str) -> bool:
    return check.startswith("API")
