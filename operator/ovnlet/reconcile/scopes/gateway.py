"""The scope of the node as a gateway: its table of nftables, routing by source, and accepts.

What is desired follows from Subnets, Nodes and Services. All of them come from the API server. The
last ones are kept in a file, and used while the API server is away: a table without the elements of
its sets would translate traffic between pods.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

import structlog

from ovnlet.core.allocation import Address as Ip
from ovnlet.core.allocation import Destination
from ovnlet.core.gateway import Cluster, GatewayIdentity, parse
from ovnlet.core.gateway_network import DIRECTIONS, tables
from ovnlet.core.gateway_routing import Routing, accepts, routing
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.probes import Probe
from ovnlet.core.resources import Network
from ovnlet.core.resources.gateway import FILTER, OF_KUBE_OVN
from ovnlet.core.resources.nftables import TABLE
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Notice, Outcome, Target
from ovnlet.reconcile.scope import Host, Key
from ovnlet.reconcile.scopes.node import InputFile
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status

log = structlog.get_logger("gateway")


class GatewayHost(Host, Protocol):
    """The kernel's side of the gateway. ``drivers.links.gateway`` implements it."""

    @property
    def has_tables(self) -> bool:
        """Whether the kernel has nf_tables. Raise NodeFault."""
        ...

    @property
    def firewall(self) -> Collection[tuple[str, str]]:
        """The chains of iptables that may drop what pods send, by family. Raise NodeFault."""
        ...

    @property
    def prefixes(self) -> Collection[HostPrefix]:
        """The prefixes of the node's other links. Raise NodeFault."""
        ...


class Follower(Protocol):
    """The kernel's notifications of nftables. ``drivers.watch.kernel`` implements it."""

    def follow_tables(self, key: Key, tables: frozenset[str]) -> None:
        """Hint this key when one of these tables of nftables, or a rule of routing, changes."""
        ...

    def follow_addresses(self, key: Key) -> None:
        """Hint this key when an address of a link of the node comes or goes."""
        ...


class GatewayScope(NodeWideScope[GatewayIdentity]):
    """One key. There is none until the whole cluster has been seen once.

    ``pods`` returns the addresses of a Subnet's pods on this node, ``probes`` those probes that are
    led to the agent. ``no_snat`` are destinations outside of the cluster whose packets keep a pod's
    address.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: GatewayHost,
        inputs: InputFile,
        passes: Passes,
        status: Status,
        *,
        watch: Follower,
        pods: Callable[[str], Collection[Ip]] = lambda _: (),
        probes: Callable[[], Collection[Probe]] = lambda: (),
        no_snat: frozenset[Destination] = frozenset(),
        repair: Repair = "fix",
    ) -> None:
        super().__init__(GatewayIdentity(), status)
        self.host = host
        self._inputs, self._passes, self._watch = inputs, passes, watch
        self._no_snat, self._repair, self._pods, self._probes = no_snat, repair, pods, probes
        self._text, self._cluster = _remembered(inputs)

    def every_key(self) -> Iterator[str]:
        """Yield the gateway, once the cluster was seen."""
        if self._text:
            yield self.only

    def put(self, text: Mapping[str, str]) -> None:
        """Take the cluster as texts. Write them to the file and ask for a pass if they changed."""
        if text == self._text:
            return
        self._text, self._cluster = dict(text), parse(text)
        self._inputs.write(self._text)
        self._passes.force(self.only)
        self._passes.add(self.only)

    def attached(self, subnet: str) -> None:
        """Ask for a pass if the addresses of this Subnet's pods on this node are an input."""
        if any(each.egress is not None and each.name == subnet for each in self._cluster.subnets):
            self.asked()

    def asked(self) -> None:
        """Ask for a pass: an input that is not in the texts has changed."""
        self._passes.force(self.only)
        self._passes.add(self.only)

    def counted(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield Subnet, prefix, direction and IP version of everything that is counted."""
        for each in self._cluster.subnets:
            for own in each.prefixes:
                for direction in DIRECTIONS:
                    yield each.name, str(own), direction, own.version

    def missing_inputs(self, _: str, /) -> str | None:
        """Return in words what a first pass waits for; None if it waits for nothing."""
        return None if self._text else "the Subnets, Nodes and Services were not listed yet"

    def target(self, _: str, /) -> Target | None:
        """Return the gateway for the cluster as last seen, with notices."""
        if not self._text:
            return None
        wanted, routes = self._wanted()
        notices = tuple(self._notices(routes))
        return Target(self.identity, wanted, self._repair, notices=notices)

    def wanted(self, _: str, /) -> Network:
        """Return the table with its sets, chains and counters, rules, routes and accepts."""
        return self._wanted()[0]

    def _wanted(self) -> tuple[Network, Routing]:
        pods = {each.name: self._pods(each.name) for each in self._cluster.subnets if each.egress}
        routes = routing(self._cluster, pods, self.host.prefixes)
        filters = accepts(self._cluster, self.host.firewall)
        if not self.host.has_tables:
            return frozenset({*filters, *routes.resources}), routes
        found = tables(self._cluster, self._no_snat, self._probes())
        return frozenset({*found, *filters, *routes.resources}), routes

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Report the outcome. Follow the table, and the addresses that reach a gateway."""
        key = self._passes.key(own)
        self._watch.follow_tables(key, frozenset({TABLE, FILTER, *OF_KUBE_OVN}))
        self._watch.follow_addresses(key)
        await super().settled(own, outcome)

    def _notices(self, routes: Routing) -> Iterator[Notice]:
        for problem in (*self._cluster.problems, *routes.problems):
            yield Notice("GatewayNotDone", problem)
        if not self.host.has_tables:
            text = "natOutgoing is not done: this node's kernel has no nf_tables"
            yield Notice("NatNotDone", text)


def _remembered(inputs: InputFile) -> tuple[dict[str, str], Cluster]:
    """Return the texts in the file, and the cluster; none where they are of no use."""
    text = dict(inputs.read())
    try:
        return text, parse(text)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("the cluster as last seen cannot be read and is ignored", error=repr(error))
        return {}, Cluster()
