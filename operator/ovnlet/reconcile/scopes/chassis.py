"""The scope of what makes this node a chassis of OVN: external_ids of Open_vSwitch, and br-int.

They are in the local OVSDB alone: without them the node and all its pods are cut off. ``manage``
repairs them, ``observe`` only reports: beside Kube-OVN they belong to its `ovs-ovn`.
The addresses of the tunnels are the scope `encap`'s.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

from ovnlet.core.chassis import USERSPACE, ChassisIdentity, bridge_type, desired
from ovnlet.core.resources import Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.outcome import Outcome, Target
from ovnlet.reconcile.scope import Host
from ovnlet.reconcile.scopes.node import InputFile
from ovnlet.reconcile.scopes.node_wide import NodeWideScope
from ovnlet.reconcile.status import Status


class ChassisHost(Host, Protocol):
    """Open vSwitch's root row and the integration bridge. ``drivers.ovs.chassis`` implements it."""

    def present(self) -> dict[str, str]:
        """Return the keys that are set, and as `datapath_type` that of the bridge, if it exists."""
        ...


class ChassisScope(NodeWideScope[ChassisIdentity]):
    """One key for the keys and the bridge, because a fault of one explains those of others.

    ``given`` are values of the settings, which override any other. A value that no setting gives is
    never invented: a missing one is restored as it was last seen, and one that another program
    wrote counts as last seen. ``known_as`` is called with the system-id after each pass.
    """

    def __init__(  # noqa: PLR0913 - the parts, named at the one place that wires them
        self,
        host: ChassisHost,
        inputs: InputFile,
        status: Status,
        *,
        identity: ChassisIdentity,
        given: Mapping[str, str],
        mode: Literal["manage", "observe"],
        repair: Repair = "fix",
        known_as: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(identity, status)
        self.host = host
        self._inputs, self._given, self._known_as = inputs, dict(given), known_as
        self._repair: Repair = repair if mode == "manage" else "report"
        self._owns = mode == "manage"
        self._remembered = dict(inputs.read())

    @property
    def repairs(self) -> bool:
        """Whether faults are repaired, and not only reported."""
        return self._repair == "fix"

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        yield self.only

    def missing_inputs(self, _: str, /) -> None:
        """Return None: an unknown value is not desired, and nothing is waited for."""

    def target(self, _: str, /) -> Target:
        """Return the keys and the bridge, to be repaired or reported."""
        return Target(self.identity, self.wanted(self.only), self._repair)

    def wanted(self, _: str, /) -> Network:
        """Return what was last seen, overridden by what is there now and by the settings."""
        return desired(self.identity.bridge, self._values(), create=self._owns)

    def userspace(self) -> bool:
        """Return whether the bridge is to forward in userspace.

        Where we repair it, that is what it gets back; else OVN's own key, which ovn-controller
        enforces, and without that key what the bridge has now.
        """
        values = self._values() if self._repair == "fix" else self.host.present()
        return bridge_type(values) == USERSPACE

    def _values(self) -> dict[str, str]:
        return {**self._remembered, **self.host.present(), **self._given}

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Write the values that are there now, and report the outcome."""
        present = self.host.present()
        self._remember({**self._remembered, **present, **(self._given if self._owns else {})})
        await super().settled(own, outcome)
        if system_id := present.get("system-id"):
            self._known_as(system_id)

    def _remember(self, values: dict[str, str]) -> None:
        if values != self._remembered:
            self._inputs.write(values)
            self._remembered = values
