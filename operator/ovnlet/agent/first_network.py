"""What a node has because ovnlet makes each pod's first interface: `ovn0`, and the gateway.

Where another plugin makes them, there is neither: kubelet's probes and the pods' ways out of the
cluster are that plugin's.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ovnlet.agent.gateway import Gateway
from ovnlet.agent.node import ClusterView
from ovnlet.agent.subnet_metrics import SubnetCount
from ovnlet.core.identity import NodeInterface
from ovnlet.core.node_network import Reach
from ovnlet.core.settings import Settings
from ovnlet.drivers.host import NodeHost
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.node_state import NodeState
from ovnlet.drivers.ovs.ports import Ovs
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scope import Scope
from ovnlet.reconcile.scopes.node import NodeScope
from ovnlet.reconcile.stages import Clock
from ovnlet.reconcile.status import Status


class FirstNetwork:
    """The scopes `node` and `gateway` with their files; none with ``pod_network: secondary``.

    ``status`` returns a new Status for a scope's name.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        settings: Settings,
        loop: Loop,
        *,
        owners: OwnerIndex,
        watch: Watch,
        ovs: Ovs,
        state: NodeState,
        records: Sandboxes,
        cluster: ClusterView,
        clock: Clock,
        status: Callable[[str], Status],
    ) -> None:
        self.scopes: dict[str, Scope] = {}
        self.restores: list[Callable[[], None]] = []
        self._node: NodeScope | None = None
        self._gateway: Gateway | None = None
        if settings.pod_network == "secondary":
            return
        own, file = NodeInterface(settings.node_name), JsonFile(Path(settings.run_dir, "node.json"))
        self._node = NodeScope(
            NodeHost(NodeLinks(settings.sysctl_dir), ovs, state, own, clock),
            file,
            own,
            loop.passes("node"),
            status("node"),
            owners=owners,
            watch=watch,
            condition=cluster.reachable,
            repair=settings.repair,
        )
        if not self._node.remembers:
            self._node.reach(Reach(settings.clusters))
        self._gateway = Gateway(settings, loop, status("gateway"), watch, records)
        self.restores = [file.restore, self._gateway.restore]
        self.scopes = {"node": self._node, "gateway": self._gateway.scope}

    def annotated(self, text: Mapping[str, str], speaks_as: tuple[str, ...]) -> None:
        """Take the Node's annotations, and the addresses as which it speaks to pods."""
        if self._node is not None:
            self._node.put(text, speaks_as)

    def reached(self, reach: Reach) -> None:
        """Take the prefixes that the cluster's router reaches."""
        if self._node is not None:
            self._node.reach(reach)

    def cluster(self, text: Mapping[str, str]) -> None:
        """Take the texts of ``core.gateway``."""
        if self._gateway is not None:
            self._gateway.scope.put(text)

    def counts(self) -> Iterator[SubnetCount]:
        """Yield what the kernel has counted for each Subnet."""
        return self._gateway.counts() if self._gateway is not None else iter(())
