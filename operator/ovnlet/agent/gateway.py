"""The node as a gateway: its scope with what that needs."""

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from ovnlet.agent.probing import Probing
from ovnlet.agent.subnet_metrics import SubnetCount
from ovnlet.agent.supervisor import Part
from ovnlet.core.annotations import key
from ovnlet.core.errors import OvnletError
from ovnlet.core.gateway_network import counter
from ovnlet.core.identity import NodeInterface
from ovnlet.core.settings import Settings
from ovnlet.core.values import host, split
from ovnlet.drivers.links.gateway import GatewayLinks
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.drivers.watch.kernel import Watch
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scopes.gateway import GatewayScope
from ovnlet.reconcile.state import State
from ovnlet.reconcile.status import Status

# Seconds between two looks at the size of the tables of iptables-legacy.
_LEGACY_LOOKS = 1.0


class Gateway:
    """The scope `gateway`, kept by the loop, and its file."""

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        settings: Settings,
        loop: Loop,
        status: Status,
        watch: Watch,
        *,
        records: Sandboxes,
        state: State,
    ) -> None:
        self._probing = (
            Probing(records, state, settings.cluster_router) if settings.tproxy == "on" else None
        )
        self.links = GatewayLinks(Tables(), NodeInterface(settings.node_name))
        self._records, self._node = records, settings.node_name
        file = JsonFile(Path(settings.run_dir) / "gateway.json")
        self.restore = file.restore
        self.scope = GatewayScope(
            self.links,
            file,
            loop.passes("gateway"),
            status,
            watch=watch,
            pods=self._pods,
            probes=lambda: self._probing.probes if self._probing else (),
            no_snat=settings.untranslated,
            repair=settings.repair,
        )
        self._loop, self._follows = loop, settings.repair != "off"
        records.subscribe(self._attached)
        if self._probing is not None:
            self._probing.subscribe(self.scope.asked)

    def _attached(self, subnet: str) -> None:
        """Take the change of a record of a pod in this Subnet."""
        self.scope.attached(subnet)
        if self._probing is not None:
            self._probing.look()

    def parts(self) -> list[Part]:
        """Return what runs until it is cancelled."""
        probing = [Part("probes of other VPCs", self._probing.run)] if self._probing else []
        legacy = [Part("looks at iptables-legacy", self._follow_legacy)] if self._follows else []
        return [*legacy, *probing]

    async def _follow_legacy(self) -> None:
        """Hint the scope when tables of iptables-legacy change: the kernel announces it nowhere.

        A look that fails, as without a free descriptor, is made again. Returns only when cancelled.
        """
        while True:
            await asyncio.sleep(_LEGACY_LOOKS)
            try:
                changed = self.links.legacy_changed()
            except OSError:
                continue
            if changed and any(self.scope.every_key()):
                self._loop.queue.hint(self._loop.passes("gateway").key(self.scope.only))

    def _pods(self, subnet: str) -> list[IPv4Address | IPv6Address]:
        """Return the addresses of a Subnet's pods on this node, as far as they are attached."""
        texts = (
            (record.good or {}).get(key(record.attachment.provider, "ip_address"), "")
            for record in self._records.in_subnet(subnet)
        )
        return [host(part) for text in texts for part in split(text)]

    def counts(self) -> Iterator[SubnetCount]:
        """Yield what the kernel has counted for each Subnet; nothing where it cannot be asked."""
        try:
            found = {each.name: each for each in self.links.tables.counts()}
        except (OSError, OvnletError):
            return
        for subnet, cidr, direction, version in self.scope.counted():
            if (each := found.get(counter(subnet, direction, version))) is not None:
                family = f"IPv{version}"
                yield SubnetCount(
                    self._node, subnet, cidr, direction, family, each.size, each.packets
                )
