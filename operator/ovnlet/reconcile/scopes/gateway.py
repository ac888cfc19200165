"""The scope of the node as a gateway: the table of nftables between the cluster and outside.

What is desired follows from Subnets, Nodes and Services. All of them come from the API server. The
last ones are kept in a file, and used while the API server is away: a table without the elements of
its sets would translate traffic between pods.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

from ovnlet.core.allocation import Destination
from ovnlet.core.gateway import GatewayIdentity, parse
from ovnlet.core.gateway_network import tables
from ovnlet.core.resources import ABSENT, Network
from ovnlet.core.resources.nftables import TABLE
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Notice, Outcome, Target
from ovnlet.reconcile.scope import Host, Key
from ovnlet.reconcile.scopes.node import InputFile
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status


class GatewayHost(Host, Protocol):
    """The kernel's side of the gateway. ``drivers.links.gateway`` implements it."""

    @property
    def has_tables(self) -> bool:
        """Whether the kernel has nf_tables. Raise NodeFault."""
        ...


class Follower(Protocol):
    """The kernel's notifications of nftables. ``drivers.watch.kernel`` implements it."""

    def follow_tables(self, key: Key, tables: frozenset[str]) -> None:
        """Hint this key when one of the tables of nftables changes."""
        ...


class GatewayScope(NodeWideScope[GatewayIdentity]):
    """One key. There is none until the whole cluster has been seen once.

    ``no_snat`` are destinations outside of the cluster whose packets keep a pod's address.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: GatewayHost,
        inputs: InputFile,
        passes: Passes,
        status: Status,
        *,
        watch: Follower,
        no_snat: frozenset[Destination] = frozenset(),
        repair: Repair = "fix",
    ) -> None:
        super().__init__(GatewayIdentity(), status)
        self.host = host
        self._inputs, self._passes, self._watch = inputs, passes, watch
        self._no_snat, self._repair = no_snat, repair
        self._text = dict(inputs.read())
        self._cluster = parse(self._text)

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

    def missing_inputs(self, _: str, /) -> str | None:
        """Return in words what a first pass waits for; None if it waits for nothing."""
        return None if self._text else "the Subnets, Nodes and Services were not listed yet"

    def target(self, _: str, /) -> Target | None:
        """Return the gateway for the cluster as last seen, with notices."""
        if not self._text:
            return None
        return Target(
            self.identity, self.wanted(self.only), self._repair, notices=tuple(self._notices())
        )

    def wanted(self, _: str, /) -> Network:
        """Return the table with its sets, chains and counters."""
        if not self.host.has_tables:
            return ABSENT
        return frozenset(tables(self._cluster, self._no_snat))

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Report the outcome, and follow the table."""
        self._watch.follow_tables(self._passes.key(own), frozenset({TABLE}))
        await super().settled(own, outcome)

    def _notices(self) -> Iterator[Notice]:
        for problem in self._cluster.problems:
            yield Notice("GatewayNotDone", problem)
        if not self.host.has_tables:
            text = "natOutgoing is not done: this node's kernel has no nf_tables"
            yield Notice("NatNotDone", text)
