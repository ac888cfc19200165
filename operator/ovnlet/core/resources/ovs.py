"""Rows of the node's Open_vSwitch database."""

from dataclasses import dataclass

# The only keys of Interface.external_ids that ovnlet writes or removes. All others stay as they
# are: overwriting the map would erase ovn-controller's `ovn-installed` for good.
MARK = "ovnlet"
OWNED_IDS = frozenset(
    {MARK, "iface-id", "iface-id-ver", "vendor", "pod_name", "pod_namespace", "pod_netns", "ip"}
)


@dataclass(frozen=True, slots=True)
class Port:
    """A Port row with its one Interface of the same name, and our keys of its external_ids.

    ``orphaned`` is only observed: OVN considers the Interface installed, but its link is gone. A
    new link under such a row would keep the stale `ovn-installed`, so the row must be removed
    first; that is why the flag is part of the key. ``uninstalled`` is only observed too: a plugged
    port has lost OVN's `ovn-installed`. ``blocked`` are flags that stop its traffic in the switch,
    such as `no-forward`; they are never desired.

    ``internal`` is a port whose link ovs-vswitchd itself creates, with the ``mac`` and ``mtu`` of
    its row.
    """

    bridge: str
    name: str
    external_ids: frozenset[tuple[str, str]]
    orphaned: bool = False
    uninstalled: bool = False
    internal: bool = False
    mac: str | None = None
    mtu: int | None = None
    blocked: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """The bridge, the name, and the two flags that can only change with a new row."""
        return ("port", self.bridge, self.name, self.orphaned, *([True] if self.internal else []))

    @property
    def within(self) -> None:
        """None: nothing else removes a port."""
        return None

    @property
    def needs_remedy(self) -> bool:
        """Whether its repair concerns the whole node: ovn-controller computes all flows again."""
        return self.uninstalled

    @property
    def ids(self) -> dict[str, str]:
        """Our external_ids as a dict."""
        return dict(self.external_ids)


@dataclass(frozen=True, slots=True)
class DuplicateIfaceId:
    """Another Interface row with the `iface-id` of ours.

    It is never desired: OVN binds only one of them.
    """

    interface: str
    iface_id: str

    @property
    def key(self) -> tuple[object, ...]:
        """The interface and its `iface-id`."""
        return ("duplicate iface-id", self.interface, self.iface_id)

    @property
    def within(self) -> None:
        """None: nothing else removes the value."""
        return None
