"""The host of the node as a gateway: what the kernel translates, counts, drops and routes.

Ours are the table `inet ovnlet`, rules with our comment in chains of iptables, and rules and routes
of routing of our protocol.
"""

import asyncio
import time
from collections.abc import Collection

from ovnlet.core.gateway import GatewayIdentity
from ovnlet.core.identity import NodeInterface
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.resources import (
    ABSENT,
    Accepts,
    KubeOvnChains,
    KubeOvnRules,
    KubeOvnSets,
    Network,
    NftChain,
    NftCounter,
    NftSet,
    NftTable,
    PolicyRoute,
    PolicyRule,
)
from ovnlet.core.resources.gateway import LEGACY
from ovnlet.drivers.links import legacy_accepts, legacy_kube_ovn, policy_routing
from ovnlet.drivers.links.nftables import Tables
from ovnlet.drivers.links.node import NodeLinks
from ovnlet.drivers.links.pod import os_errors_as_node_faults

# Seconds. The kernel frees a rule some time after its removal, and only then the sets it matched.
_RECHECK, _FREED = 60.0, 0.05
_OF_TABLE = NftTable | NftCounter | NftSet | NftChain
_OF_ROUTING = PolicyRoute | PolicyRule
_OF_KUBE_OVN = KubeOvnChains | KubeOvnRules | KubeOvnSets


class GatewayLinks:
    """Implements ``reconcile.scope.Host`` for the gateway."""

    def __init__(self, tables: Tables, own: NodeInterface) -> None:
        self.tables, self._own = tables, own
        self._has_tables, self._next_check = False, float("-inf")
        # Tables of iptables-legacy: the families that were known when the desired network was made,
        # and how their tables were at the observation after that.
        self._known: set[str] = set()
        self._legacy: dict[str, bytes] = {}

    @property
    def has_tables(self) -> bool:
        """Whether the kernel has nf_tables. If it was missing, ask again after a minute.

        Its module may be loaded later. Raise NodeFault without the right to ask.
        """
        if not self._has_tables and time.monotonic() >= self._next_check:
            self._has_tables = self.tables.is_there()
            self._next_check = time.monotonic() + _RECHECK
        return self._has_tables

    @property
    def firewall(self) -> Collection[tuple[str, str]]:
        """The chains of iptables that may drop what pods send, by family and name."""
        with os_errors_as_node_faults(GatewayIdentity()):
            legacy = legacy_accepts.chains()
            self._known = {family for family, _ in legacy}
            return legacy | (self.tables.firewall() if self.has_tables else frozenset())

    @property
    def prefixes(self) -> Collection[HostPrefix]:
        """The prefixes of the node's links other than its interface into the cluster's network."""
        return NodeLinks.prefixes(self._own)

    def legacy_changed(self) -> bool:
        """Return whether tables of iptables-legacy differ from those of the last observation.

        Not from those of the last question: a table that is repaired and cleared again between two
        questions is as it was. Raise OSError.
        """
        return legacy_accepts.fingerprint() != self._legacy

    async def ready(self) -> None:
        """Return: an observation needs nothing but the kernel."""

    async def observe(self, identity: GatewayIdentity, desired: Network) -> Network:
        """Return all that the kernel has of ours. Raise NodeFault if it refuses a question."""
        with os_errors_as_node_faults(identity):
            # Before the tables are read: a change between the two asks for one more look. So does
            # a table that came after the desired network was made.
            tables = legacy_accepts.fingerprint().items()
            self._legacy = {family: each for family, each in tables if family in self._known}
            found = self.tables.observe(desired) if self.has_tables else ABSENT
            if found and desired:
                found |= frozenset(legacy_kube_ovn.observe(self.tables.kube_ovn_sets()))
            wanted = [each for each in desired if isinstance(each, Accepts)]
            return found | policy_routing.observe() | frozenset(legacy_accepts.observe(wanted))

    async def apply(self, identity: GatewayIdentity, plan: Plan) -> None:
        """Carry out the steps: those on the table in one transaction, those on a chain in one.

        Of routing, what comes precedes what goes, and a route its rule: packets from a Subnet with
        a gateway of its own have a way at every moment. Raise NodeFault.
        """
        with os_errors_as_node_faults(identity):
            if table := [step for step in plan if isinstance(step.resource, _OF_TABLE)]:
                self.tables.carry_out(table)
            for step in plan:
                if isinstance(step.resource, Accepts | _OF_KUBE_OVN):
                    await self._change_iptables(step)
            if any(isinstance(step.resource, KubeOvnRules) for step in plan):
                await asyncio.sleep(_FREED)
            routing = [step for step in plan if isinstance(step.resource, _OF_ROUTING)]
            for verb in (Verb.ENSURE, Verb.REMOVE):
                for step in routing:
                    if step.verb is verb:
                        policy_routing.carry_out(step)

    async def _change_iptables(self, step: Step) -> None:
        """Carry out a step on chains of iptables, of the kind that they are."""
        match step.resource:
            case Accepts(family=family) if family.startswith(LEGACY):
                await legacy_accepts.carry_out(step)
            case KubeOvnChains(family=family) | KubeOvnRules(family=family) if family.startswith(
                LEGACY
            ):
                await legacy_kube_ovn.remove(step, self.tables.kube_ovn_sets())
            case _:
                self.tables.change_iptables(step)
