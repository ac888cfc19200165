"""The scope of what makes this node a chassis of OVN: keys of Open_vSwitch.external_ids, and br-int.

They are in the local OVSDB alone: whoever wipes it cuts the node off, and every pod with it. ``manage``
repairs them, ``observe`` only reports: beside Kube-OVN they belong to its `ovs-ovn`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

from ovnlet.core.chassis import ChassisIdentity, desired
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
        """Return the keys that are set, and the bridge's datapath type under `datapath_type` if it is there."""
        ...


class ChassisScope(NodeWideScope[ChassisIdentity]):
    """One key for all of it: what is wrong in one place explains the others.

    ``given`` are the settings' own values, which hold against any other. A value that no setting gives is
    never invented: what was last seen is restored if it is gone, and a new value that somebody wrote is
    what was last seen. ``known_as`` is called with the system-id after each pass.
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

    def every_key(self) -> Iterator[str]:
        """Yield the one key."""
        yield self.only

    def missing_inputs(self, _: str, /) -> None:
        """Nothing: what is not known is not desired."""

    def target(self, _: str, /) -> Target:
        """Return keys and bridge, to be repaired or reported."""
        return Target(self.identity, self.wanted(self.only), self._repair)

    def wanted(self, _: str, /) -> Network:
        """Return what was last seen, overridden by what is there now and by the settings."""
        values = {**self._remembered, **self.host.present(), **self._given}
        return desired(self.identity.bridge, values, create=self._owns)

    async def settled(self, own: str, outcome: Outcome, /) -> None:
        """Remember what is there now, and report the outcome."""
        present = self.host.present()
        self._remember({**self._remembered, **present, **(self._given if self._owns else {})})
        await super().settled(own, outcome)
        if system_id := present.get("system-id"):
            self._known_as(system_id)

    def _remember(self, values: dict[str, str]) -> None:
        if values != self._remembered:
            self._inputs.write(values)
            self._remembered = values
