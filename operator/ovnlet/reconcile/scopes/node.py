"""The scope of the node's interface `ovn0`: its port, addresses, routes and sysctls.

What is desired follows from the Node's annotations and the cluster's prefixes. Both come from the
API server. The last good ones are kept in a file, and used while the API server is away.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Protocol

import structlog

from ovnlet.core import annotations
from ovnlet.core.allocation import Destination
from ovnlet.core.errors import Invalid, NotReady, OvnletError
from ovnlet.core.identity import Node, NodeInterface
from ovnlet.core.node_network import (
    IP,
    HostPrefix,
    Reach,
    conflicts,
    local,
    network,
    parse,
)
from ovnlet.core.resources import Address, Network
from ovnlet.core.settings import Repair
from ovnlet.core.tunnel import without_ipv6
from ovnlet.core.values import address, prefix, split
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Notice, Outcome, Target
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Host, Key
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status

log = structlog.get_logger("node")
_CLUSTERS, _UNDERLAYS = "prefixes", "underlays"
_SPEAKS_AS = "speaks-as"
# Seconds. OVN installs a port within milliseconds; one whose logical port is missing it never does.
INSTALLING = 1.0
_REFUSED, _NAMED = "RouteNotSet", 3


class NodeHost(Host, Protocol):
    """The drivers of the node's own interface. ``drivers.host`` implements it."""

    @property
    def node(self) -> Node:
        """The facts of this node."""
        ...

    @property
    def prefixes(self) -> Iterable[HostPrefix]:
        """The prefixes of the node's other links. Raise NodeFault."""
        ...

    async def installed(self, identity: NodeInterface) -> None:
        """Wait without a bound until OVN has installed the port."""
        ...


class InputFile(Protocol):
    """A file of texts that survive a restart. ``drivers.store.json_file`` implements it."""

    def read(self) -> Mapping[str, str]:
        """Return the texts by name; empty where there is no readable file."""
        ...

    def write(self, values: Mapping[str, str]) -> None:
        """Replace the file."""
        ...


class Follower(Protocol):
    """The kernel's notifications of a link. ``drivers.watch.kernel`` implements it."""

    def follow(self, key: Key, link: str) -> None:
        """Hint this key when the link changes."""
        ...

    def follow_addresses(self, key: Key) -> None:
        """Hint this key when an address of a link of the node comes or goes."""
        ...

    def follows(self, key: Key) -> bool:
        """Return whether anything of this key is followed."""
        ...


class Condition(Protocol):
    """The Node's condition NetworkUnavailable. ``agent.node`` implements it."""

    def up(self, message: str, *, partly: bool = False) -> None:
        """Report that the interface works, ``partly`` where routes could not be set."""
        ...

    def down(self, why: str) -> None:
        """Report that it does not work."""
        ...


class NodeScope(NodeWideScope[NodeInterface]):
    """One key, the interface's name. There is none until the Node has had an address.

    Annotations that are removed or become invalid change nothing: probes of pods need the
    interface.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: NodeHost,
        inputs: InputFile,
        identity: NodeInterface,
        passes: Passes,
        status: Status,
        *,
        owners: OwnerIndex,
        watch: Follower,
        condition: Condition,
        repair: Repair = "fix",
    ) -> None:
        super().__init__(identity, status)
        self.host = host
        self._inputs, self._passes, self._repair = inputs, passes, repair
        self._watch, self._condition = watch, condition
        remembered = dict(inputs.read())
        clusters = remembered.pop(_CLUSTERS, None)
        underlays = remembered.pop(_UNDERLAYS, "")
        self.remembers = clusters is not None
        self._reach = Reach(_read(clusters or ""), _read(underlays))
        self._speaks_as = tuple(split(remembered.pop(_SPEAKS_AS, "")))
        self._text = remembered
        self._refused = ""
        names = (("port", identity.host_link), ("mark", identity.mark))
        owners.register(passes.key(self.only), names)

    def addresses(self, _: str, /) -> str:
        """Return the interface's addresses, separated by commas."""
        return ",".join(split(self._text.get(annotations.key("ovn", "ip_address"), "")))

    def every_key(self) -> Iterator[str]:
        """Yield the interface, if the node has one."""
        if self._text:
            yield self.only

    def put(self, text: Mapping[str, str], speaks_as: tuple[str, ...] = ()) -> None:
        """Take the Node's annotations, and the addresses as which it speaks to pods.

        Log invalid annotations once and do not use them.
        """
        text = annotations.of_node(text)
        try:
            parse(text)
        except (NotReady, Invalid) as error:
            if str(error) != self._refused and (self._text or isinstance(error, Invalid)):
                instead = self._text or None
                log.warning("Node's annotations not used", reason=str(error), instead=instead)
            self._refused = str(error)
            return
        self._refused = ""
        self._keep(text, self._reach, speaks_as)

    def reach(self, reach: Reach) -> None:
        """Take the cluster's prefixes."""
        self._keep(self._text, reach, self._speaks_as)

    def missing_inputs(self, _: str, /) -> str | None:
        """Return in words what a first pass waits for; None if it waits for nothing."""
        return None if self._text else "the Node has no address annotations yet"

    def target(self, _: str, /) -> Target | None:
        """Return the interface as the last good annotations describe it, with notices."""
        if not self._text:
            return None
        host = tuple(self.host.prefixes)
        notices = (*self._notices(), *self._refused_routes(host), *self._foreign_sources(host))
        return Target(self.identity, self._network(host), self._repair, notices=notices)

    def wanted(self, _: str, /) -> Network:
        """Return the interface with its port, addresses, routes and sysctls."""
        return self._network(tuple(self.host.prefixes))

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Report the outcome and the condition. Raise NotReady until OVN has installed the port."""
        key = self._passes.key(own)
        if outcome.steps or not self._watch.follows(key):
            self._watch.follow(key, self.identity.host_link)
            self._watch.follow_addresses(key)
        self.status.settled(own, outcome)
        if outcome.remaining:
            steps = "; ".join(map(str, outcome.remaining))
            self._condition.down(f"not repaired ({outcome.why_remaining}): {steps}")
            return
        await self._installed()
        found = sorted(str(each.ip.ip) for each in outcome.observed if isinstance(each, Address))
        refused = [each.text for each in outcome.notices if each.reason == _REFUSED]
        text = f"{self.identity.ifname} is up with {', '.join(found)}"
        self._condition.up("; ".join((text, *refused[:_NAMED])), partly=bool(refused))

    def failed(self, own: str, error: OvnletError, /, *, awaited: bool) -> None:
        """Report a failed pass, and the node's condition."""
        self._condition.down(str(error))
        super().failed(own, error, awaited=awaited)

    def _network(self, host: tuple[HostPrefix, ...]) -> Network:
        identity, node, internal = self.identity, self.host.node, _addresses(self._speaks_as)
        return network(identity, self._text, self._reach, node, host, internal=internal)

    def _keep(self, text: Mapping[str, str], reach: Reach, speaks_as: tuple[str, ...]) -> None:
        """Write new input to the file and ask for a pass; do nothing where it is the same."""
        if (text, reach, speaks_as) == (self._text, self._reach, self._speaks_as):
            return
        self._text, self._reach, self._speaks_as = dict(text), reach, speaks_as
        if self._text:
            prefixes = {
                _CLUSTERS: reach.clusters,
                _UNDERLAYS: reach.underlays,
            }
            written = {name: _write(found) for name, found in prefixes.items()}
            if speaks_as:
                written[_SPEAKS_AS] = ",".join(speaks_as)
            self._inputs.write({**self._text, **written})
            self._passes.force(self.only)
            self._passes.add(self.only)

    def _notices(self) -> Iterator[Notice]:
        node = self.host.node
        if node.mtu_unknown:
            text = f"{node.mtu_unknown}: pods have an MTU of {node.mtu} until it is known"
            yield Notice("TunnelMtuUnknown", text)
        if problem := without_ipv6(parse(self._text), node):
            yield Notice("Ipv6NotPossible", problem)

    def _refused_routes(self, host: Iterable[HostPrefix]) -> Iterator[Notice]:
        refused = conflicts(parse(self._text), self._reach, host)
        for destination, other in sorted(refused.items(), key=str):
            text = (
                f"no route to {destination} by {self.identity.ifname}: it would hide "
                f"{other.prefix} of the node's link {other.link}"
            )
            yield Notice(_REFUSED, text)

    def _foreign_sources(self, host: tuple[HostPrefix, ...]) -> Iterator[Notice]:
        sources = _addresses(self._speaks_as)
        for each in sorted(sources - local(sources, host), key=str):
            text = (
                f"pods see the address of {self.identity.ifname} and not the Node's InternalIP "
                f"{each}: no link of the node has it. A NetworkPolicy may drop kubelet's probes"
            )
            yield Notice("InternalIpNotLocal", text)

    async def _installed(self) -> None:
        try:
            async with asyncio.timeout(INSTALLING):
                await self.host.installed(self.identity)
        except TimeoutError:
            raise NotReady(
                "OVN has not installed the node's port: is there a logical switch port of its name?"
            ) from None


def _read(text: str) -> frozenset[Destination]:
    """Return the prefixes of a text in the file, without what somebody wrote there that is none."""
    found = set()
    for each in split(text):
        try:
            found.add(prefix(each))
        except ValueError as error:
            log.warning("a prefix as last seen cannot be read and is ignored", error=str(error))
    return frozenset(found)


def _write(prefixes: Iterable[Destination]) -> str:
    return ",".join(sorted(map(str, prefixes)))


def _addresses(texts: Iterable[str]) -> frozenset[IP]:
    """Return the addresses of a Node's status; the API server lets anything pass there."""
    found = set()
    for text in texts:
        with suppress(ValueError):
            found.add(address(text))
    return frozenset(found)
