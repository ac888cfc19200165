"""The scope of what makes this node a chassis of OVN: external_ids of Open_vSwitch, and br-int.

They are in the local OVSDB alone: without them the node and all its pods are cut off. ``manage``
repairs them, ``observe`` only reports: beside Kube-OVN they belong to its `ovs-ovn`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

from ovnlet.core.chassis import TUNNEL, ChassisIdentity, desired
from ovnlet.core.resources import Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Passes
from ovnlet.reconcile.outcome import Notice, Outcome, Target
from ovnlet.reconcile.scope import Host
from ovnlet.reconcile.scopes.node import InputFile
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status


class ChassisHost(Host, Protocol):
    """Open vSwitch's root row and the integration bridge. ``drivers.ovs.chassis`` implements it."""

    def present(self) -> dict[str, str]:
        """Return the keys that are set, and as `datapath_type` that of the bridge, if it exists."""
        ...

    def has_address(self, text: str, /) -> bool:
        """Return whether a link of the node has this address. Raise NodeFault or OSError."""
        ...


class ChassisScope(NodeWideScope[ChassisIdentity]):
    """One key for the keys and the bridge, because a fault of one explains those of others.

    ``given`` are values of the settings, which override any other. A value that no setting gives is
    never invented: a missing one is restored as it was last seen, and one that another program
    wrote counts as last seen. ``known_as`` is called with the system-id after each pass.
    ``without`` are keys that another scope keeps.

    A tunnel address that the Node declares overrides the settings, if it is on a link of the node.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: ChassisHost,
        inputs: InputFile,
        passes: Passes,
        status: Status,
        *,
        identity: ChassisIdentity,
        given: Mapping[str, str],
        mode: Literal["manage", "observe"],
        repair: Repair = "fix",
        known_as: Callable[[str], None] = lambda _: None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(identity, status)
        self.host = host
        self._inputs, self._given, self._known_as = inputs, dict(given), known_as
        self._passes = passes
        self._tunnels: tuple[str, ...] = ()
        self._repair: Repair = repair if mode == "manage" else "report"
        self._owns, self._without = mode == "manage", without
        self._remembered = dict(inputs.read())

    def declare(self, tunnels: tuple[str, ...]) -> None:
        """Take the addresses that the Node declares for its tunnels, the best one first."""
        if tunnels != self._tunnels:
            self._tunnels = tunnels
            self._passes.add(self.only)

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        yield self.only

    def missing_inputs(self, _: str, /) -> None:
        """Return None: an unknown value is not desired, and nothing is waited for."""

    def target(self, _: str, /) -> Target:
        """Return the keys and the bridge, to be repaired or reported."""
        wanted, notices = self.wanted(self.only), tuple(self._notices())
        return Target(self.identity, wanted, self._repair, notices=notices)

    def wanted(self, _: str, /) -> Network:
        """Return what was last seen, overridden by what is there now and by the settings."""
        values = {**self._remembered, **self.host.present(), **self._declared()}
        kept = {name: value for name, value in values.items() if name not in self._without}
        return desired(self.identity.bridge, kept, create=self._owns)

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Write the values that are there now, and report the outcome."""
        present = self.host.present()
        self._remember({**self._remembered, **present, **(self._declared() if self._owns else {})})
        await super().settled(own, outcome)
        if system_id := present.get("system-id"):
            self._known_as(system_id)

    def _declared(self) -> dict[str, str]:
        """Return the values of the settings and of the Node."""
        usable = next(filter(self.host.has_address, self._tunnels), None)
        return self._given | ({TUNNEL: usable} if usable is not None else {})

    def _notices(self) -> Iterator[Notice]:
        """Yield that no declared tunnel address is on a link: what was there stays."""
        if self._tunnels and not any(map(self.host.has_address, self._tunnels)):
            declared = ", ".join(self._tunnels)
            text = f"the Node declares the tunnel address {declared}, which no link here has"
            yield Notice("EncapAddressUnusable", text)

    def _remember(self, values: dict[str, str]) -> None:
        if values != self._remembered:
            self._inputs.write(values)
            self._remembered = values
