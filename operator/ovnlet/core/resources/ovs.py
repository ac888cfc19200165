"""Rows of the node's Open_vSwitch database."""

from dataclasses import dataclass

# The only keys of Interface.external_ids that are ours to write or remove. All others are left as
# they are: overwriting the map erases ovn-controller's `ovn-installed` for good.
MARK = "ovnlet"
OWNED_IDS = frozenset(
    {MARK, "iface-id", "iface-id-ver", "vendor", "pod_name", "pod_namespace", "pod_netns", "ip"}
)


@dataclass(frozen=True, slots=True)
class Port:
    """A Port with its one Interface of the same name, and our keys of the Interface's external_ids.

    ``orphaned`` is only ever observed: OVN holds the Interface for installed, but its link is gone.
    A link made anew under such a row would keep the stale `ovn-installed`, so the row must go first;
    therefore it is part of the key. ``uninstalled`` is only ever observed too: OVN's `ovn-installed` was lost on a port
    that is plugged.

    ``internal`` is a port whose link ovs-vswitchd itself makes, with the ``mac`` and the ``mtu`` of its row.
    """

    bridge: str
    name: str
    external_ids: frozenset[tuple[str, str]]
    orphaned: bool = False
    uninstalled: bool = False
    internal: bool = False
    mac: str | None = None
    mtu: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return ("port", self.bridge, self.name, self.orphaned, *([True] if self.internal else []))

    @property
    def within(self) -> None:
        return None

    @property
    def ids(self) -> dict[str, str]:
        return dict(self.external_ids)


@dataclass(frozen=True, slots=True)
class DuplicateIfaceId:
    """Another Interface row that bears the `iface-id` of ours. Never desired: OVN binds only one of them."""

    interface: str
    iface_id: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("claim", self.interface, self.iface_id)

    @property
    def within(self) -> None:
        return None
