"""The scope of OVN's flows in the integration bridge.

They are repaired also where the chassis is another program's: like a recompute, the remedy changes
no configuration.
"""

from collections.abc import Iterator

from ovnlet.core.chassis import FlowsIdentity
from ovnlet.core.resources import Flows, Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Target
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Host
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status


class FlowsScope(NodeWideScope[FlowsIdentity]):
    """One key: no table of OVN is empty that must not be."""

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: Host,
        identity: FlowsIdentity,
        passes: Passes,
        status: Status,
        *,
        owners: OwnerIndex,
        repair: Repair = "fix",
    ) -> None:
        super().__init__(identity, status)
        self.host, self._repair = host, repair
        owners.register(passes.key(self.only), [("flows", identity.bridge)])

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        yield self.only

    def missing_inputs(self, _: str, /) -> None:
        """Nothing."""

    def target(self, _: str, /) -> Target:
        """Return the flows, all there."""
        return Target(self.identity, self.wanted(self.only), self._repair)

    def wanted(self, _: str, /) -> Network:
        """Return the flows, all there."""
        return frozenset({Flows(self.identity.bridge)})
