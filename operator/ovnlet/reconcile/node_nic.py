"""The node's own interface, through the same loop as every pod's: what is desired of it, and one pass.

The Node's annotations and the cluster's prefixes come from the API server; with it away, what was last good holds.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from ovnlet.core import annotations
from ovnlet.core.allocation import Destination
from ovnlet.core.attachment import NODE_NIC, Attachment
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.node_network import network, parse
from ovnlet.core.resources import Network
from ovnlet.core.settings import Repair
from ovnlet.core.values import prefix
from ovnlet.reconcile.patience import UNDONE, Patience
from ovnlet.reconcile.reconciler import Host, Outcome, converge, unrepaired

log = structlog.get_logger("node")
_PREFIXES = "prefixes"


class Memory(Protocol):
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
        memory: Memory,
        attachment: Attachment,
        *,
        patience: Patience,
        repair: Repair = "fix",
    ) -> None:
        self._host, self._memory, self._attachment = host, memory, attachment
        self._patience, self._repair = patience, repair
        remembered = dict(memory.read())
        self._prefixes = remembered.pop(_PREFIXES, "")
        self._text = remembered
        self._told = ""
        self._fresh = False

    @property
    def prefixes(self) -> str:
        """As remembered."""
        return self._prefixes

    def put(self, text: Mapping[str, str]) -> bool:
        """Take the Node's annotations; whether they ask for anything new. Bad ones are told of once, and not used."""
        text = annotations.of_node(text)
        try:
            parse(text)
        except (NotReady, Invalid) as error:
            if str(error) != self._told and (self._text or isinstance(error, Invalid)):
                log.warning("the Node's annotations are not used", reason=str(error), instead=self._text or None)
            self._told = str(error)
            return False
        self._told = ""
        return self._keep(text, self._prefixes)

    def reach(self, prefixes: Collection[Destination]) -> bool:
        """Take the cluster's prefixes; whether they are others than before."""
        return self._keep(self._text, ",".join(sorted(map(str, prefixes))))

    def _keep(self, text: Mapping[str, str], prefixes: str) -> bool:
        if (text, prefixes) == (self._text, self._prefixes):
            return False
        self._text, self._prefixes = dict(text), prefixes
        if self._text:
            self._memory.write({**self._text, _PREFIXES: prefixes})
            self._fresh = True
        return bool(self._text)

    async def reconcile(self) -> Outcome | None:
        """One pass; None where the node has no interface of its own. Raises like any pass."""
        if not self._text:
            return None
        desired, asked = self._desired(), self._fresh
        rest = 0.0 if asked else self._patience.rest(NODE_NIC)
        if asked or (self._repair == "fix" and not rest):
            outcome = await converge(self._host, self._attachment, desired)
            self._fresh = False
            if outcome.steps and not asked:
                self._patience.took(NODE_NIC, outcome.steps)
            return replace(outcome, asked=asked)
        if self._repair == "off":
            return Outcome(self._attachment, desired, desired)
        return await unrepaired(self._host, self._attachment, desired, UNDONE if rest else "as set")

    def _desired(self) -> Network:
        prefixes = [prefix(text) for text in self._prefixes.split(",") if text]
        return network(self._attachment, self._text, prefixes, self._host.node)
