"""The scope of the addresses of this node's tunnels, where they follow from the Node.

Beside Kube-OVN its agent writes them, and so must an agent in its place. All other keys of the
chassis are other programs' there.
"""

from collections.abc import Iterator
from typing import Protocol

from ovnlet.core.encap import DEFAULT, EncapIdentity, Links, Sources, desired
from ovnlet.core.resources import ABSENT, ChassisId, Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Outcome, Target
from ovnlet.reconcile.scope import Host
from ovnlet.reconcile.scopes.node import InputFile
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status


class EncapHost(Host, Protocol):
    """The two keys, and the node's addresses. ``drivers.ovs.encap`` implements it."""

    def present(self) -> str:
        """Return the address of the tunnels, as it is set; empty where none is."""
        ...

    def links(self) -> Links:
        """Return the addresses of each link of the node. Raise NodeFault."""
        ...


class EncapScope(NodeWideScope[EncapIdentity]):
    """One key. ``given`` and ``interface`` are settings; the Node's annotations override both."""

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: EncapHost,
        inputs: InputFile,
        passes: Passes,
        status: Status,
        *,
        given: str = "",
        interface: str = "",
        repair: Repair = "fix",
    ) -> None:
        super().__init__(EncapIdentity(), status)
        self.host, self._inputs, self._passes, self._repair = host, inputs, passes, repair
        self._given, self._interface = given, interface
        self._sources: Sources | None = None
        self._kept = dict(inputs.read())

    def put(
        self, interface: str, networks: str, internal: tuple[str, ...], declared: str = ""
    ) -> None:
        """Take what the Node says, and ask for a pass if that is new."""
        interface = interface or self._interface
        sources = Sources(declared, self._given, interface, networks, internal)
        if sources != self._sources:
            self._sources = sources
            self._passes.add(self.only)

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        yield self.only

    def missing_inputs(self, _: str, /) -> str | None:
        """Return what is waited for while no address is known."""
        return None if self.wanted(self.only) else "no address of this node is known for tunnels"

    def target(self, _: str, /) -> Target | None:
        """Return the keys; None while no address is known: what is there stays."""
        wanted = self.wanted(self.only)
        return Target(self.identity, wanted, self._repair) if wanted else None

    def wanted(self, _: str, /) -> Network:
        """Return the keys. What is set is adopted if it can be right, else what was set last.

        Until the Node is known, it is just what was set last: the Node may list further addresses.
        """
        links, last = self.host.links(), self._kept.get(DEFAULT, "")
        known = {address for each in links.values() for address in each}
        if self._sources is None:
            kept = (ChassisId(name, value) for name, value in self._kept.items())
            return frozenset(kept) if last in known else ABSENT
        trials = (self.host.present(), last)
        return desired(self._sources, links, next((each for each in trials if each in known), ""))

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Remember the addresses, and report the outcome."""
        keys = {each.name: each.value for each in outcome.desired if isinstance(each, ChassisId)}
        if keys != self._kept:
            self._kept = keys
            self._inputs.write(keys)
        await super().settled(own, outcome)
