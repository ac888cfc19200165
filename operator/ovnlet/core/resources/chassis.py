"""What makes a node a chassis of OVN: rows of its Open_vSwitch database, and OVN's flows."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ChassisId:
    """One key of Open_vSwitch.external_ids that ovn-controller reads."""

    name: str
    value: str

    @property
    def key(self) -> tuple[object, ...]:
        """The key's name; its value is set in place."""
        return ("chassis", self.name)

    @property
    def within(self) -> None:
        """Nothing: the root row is always there."""
        return None


@dataclass(frozen=True, slots=True)
class Bridge:
    """The integration bridge.

    OVN needs ``fail_mode`` to be `secure`: with any other, ovs-vswitchd forwards like a plain
    switch while ovn-controller is not connected. ``announced`` is observed as False where the
    bridge was made again, and ovn-controller, which tries to connect at intervals of up to 8 s, was
    not made to connect yet. It is never desired as False. ``remote`` is the last known spelling of
    the bridge's control socket in `ovn-bridge-remote`. It is not compared: ovn-controller connects
    at once only when the spelling changes.
    """

    name: str
    datapath_type: str
    fail_mode: str = "secure"
    announced: bool = True
    remote: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        """The bridge's name; its datapath type is set in place."""
        return ("bridge", self.name)

    @property
    def within(self) -> None:
        """Nothing: the bridge is ovn-controller's and ours alike."""
        return None


@dataclass(frozen=True, slots=True)
class Flows:
    """OVN's flows in the integration bridge.

    ``incomplete`` is only ever observed: tables of OVN's that have fewer flows than OVN has
    installed ports.
    """

    bridge: str
    incomplete: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """The bridge."""
        return ("flows", self.bridge)

    @property
    def within(self) -> None:
        """Nothing: if the bridge is made again, ovn-controller installs them in the next one."""
        return None

    @property
    def needs_remedy(self) -> bool:
        """Whether its repair concerns the whole node: ovn-controller installs everything again."""
        return bool(self.incomplete)
