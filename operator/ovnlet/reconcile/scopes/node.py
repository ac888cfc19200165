"""The node's own interface, through the same loop as every pod's: what is desired of it, and one pass.

The Node's annotations and the cluster's prefixes come from the API server; with it away, what was last good holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from ovnlet.core import annotations
from ovnlet.core.allocation import Destination
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.identity import NODE_NIC, Attachment, Record
from ovnlet.core.node_network import NF_TABLES, Reach, network, parse
from ovnlet.core.resources import Network
from ovnlet.core.settings import Repair
from ovnlet.core.values import prefix, split
from ovnlet.reconcile.budget import UNDONE, RepairBackoff
from ovnlet.reconcile.loop import Host, Outcome, converge, unrepaired

log = structlog.get_logger("node")
_CLUSTERS, _OUTGOING = "prefixes", "outgoing"


class InputFile(Protocol):
    """What survives a restart. ``drivers.memory`` fulfils it."""

    def read(self) -> Mapping[str, str]: ...
    def write(self, values: Mapping[str, str]) -> None: ...


class NodeNic:
    """Without an address in the Node's annotations, now or before, there is nothing to do: others may do it.

    Annotations that vanish or go bad change nothing: probes of running pods need the rest.
    """

    def __init__(
        self,
        host: Host,
        memory: InputFile,
        attachment: Attachment,
        *,
        patience: RepairBackoff,
        repair: Repair = "fix",
    ) -> None:
        self._host, self._memory, self._attachment = host, memory, attachment
        self._patience, self._repair = patience, repair
        remembered = dict(memory.read())
        clusters, outgoing = remembered.pop(_CLUSTERS, None), remembered.pop(_OUTGOING, "")
        self.remembers = clusters is not None
        self._reach = Reach(_read(clusters or ""), _read(outgoing))
        self._text = remembered
        self._told = ""
        self._fresh = False

    @property
    def record(self) -> Record | None:
        """It and what it is made from, as if it were a pod's; None where the node has none."""
        return Record(self._attachment, self._text) if self._text else None

    def ask(self) -> None:
        """The next pass acts, whatever ``repair`` says."""
        self._fresh = True

    def put(self, text: Mapping[str, str]) -> bool:
        """Take the Node's annotations; whether they ask for anything new. Bad ones are told of once, and not used."""
        text = annotations.of_node(text)
        try:
            parse(text)
        except (NotReady, Invalid) as error:
            if str(error) != self._told and (self._text or isinstance(error, Invalid)):
                log.warning(
                    "the Node's annotations are not used",
                    reason=str(error),
                    instead=self._text or None,
                )
            self._told = str(error)
            return False
        self._told = ""
        return self._keep(text, self._reach)

    def reach(self, reach: Reach) -> bool:
        """Take the cluster's prefixes; whether they are others than before."""
        return self._keep(self._text, reach)

    def _keep(self, text: Mapping[str, str], reach: Reach) -> bool:
        if (text, reach) == (self._text, self._reach):
            return False
        self._text, self._reach = dict(text), reach
        if self._text:
            prefixes = {_CLUSTERS: _write(reach.clusters), _OUTGOING: _write(reach.outgoing)}
            self._memory.write({**self._text, **prefixes})
            self._fresh = True
        return bool(self._text)

    async def reconcile(self) -> Outcome | None:
        """One pass; None where the node has no interface of its own. Raises like any pass."""
        if not self._text:
            return None
        desired, asked = self.desired(), self._fresh
        rest = 0.0 if asked else self._patience.rest(NODE_NIC)
        if asked or (self._repair == "fix" and not rest):
            outcome = await converge(self._host, self._attachment, desired)
            self._fresh = False
            if outcome.steps and not asked:
                self._patience.took(NODE_NIC, outcome.steps)
            outcome = replace(outcome, asked=asked)
        elif self._repair == "off":
            outcome = Outcome(self._attachment, desired, desired)
        else:
            outcome = await unrepaired(
                self._host, self._attachment, desired, UNDONE if rest else "as set"
            )
        return replace(outcome, unenforced=tuple(self._unenforced()))

    def _unenforced(self) -> Iterator[str]:
        if self._reach.outgoing and NF_TABLES in self._host.node.lacks:
            yield "natOutgoing is not done: this node's kernel has no nf_tables"

    def desired(self) -> Network:
        return network(self._attachment, self._text, self._reach, self._host.node)


def _read(text: str) -> frozenset[Destination]:
    return frozenset(map(prefix, split(text)))


def _write(prefixes: Iterable[Destination]) -> str:
    return ",".join(sorted(map(str, prefixes)))
