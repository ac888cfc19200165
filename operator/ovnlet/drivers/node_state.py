"""Facts of this node that shape every network: MTU, datapath, what the kernel lacks."""

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from ovnlet.core.identity import Node
from ovnlet.core.tunnel import overhead
from ovnlet.drivers.links.kernel_features import KernelFeatures
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.ovs.ports import Ovs

# Bytes: the MTU of pods while nothing is known of the tunnel, for a link of Ethernet's 1500.
UNKNOWN = 1400
# Seconds between two looks at the tunnel's link: while it is known, and while it is not.
_RECHECK, _RECHECK_UNKNOWN = 10.0, 1.0
# Seconds until a link on which ovs-vswitchd made no police filter gets another chance.
_UNPOLICED = 600.0


class NodeState:
    """Keeps the facts, and asks again for those that may change.

    ``mtu`` is the setting; 0 means what the tunnel leaves. ``mtu_of`` returns the MTU of the link
    that has an address, or None. ``userspace`` returns whether the bridge is to forward in
    userspace, which by default is whether it does: a bridge that is in userspace for a moment is no
    reason to change links.
    """

    def __init__(
        self,
        ovs: Ovs,
        mtu: int,
        *,
        mtu_of: Callable[[IPv4Address | IPv6Address], int | None] = PodLinks.mtu_of,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ovs, self._set_mtu = ovs, mtu
        self.userspace: Callable[[], bool] = lambda: ovs.userspace
        self._mtu_of, self._now = mtu_of, now
        self.features = KernelFeatures()
        self._tunnel: tuple[str, str] | None = None
        self._next_look = float("-inf")
        self._mtu, self._unknown = UNKNOWN, ""
        self._unpoliced: dict[str, float] = {}

    @property
    def facts(self) -> Node:
        """Return them as they are now. Raise OSError if the kernel denies a question."""
        if not self._set_mtu:
            self._look_at_tunnel()
        return Node(
            self._ovs.bridge,
            self._set_mtu or self._mtu,
            self.userspace(),
            self.features.lacking,
            self._unknown,
            frozenset(self._still_unpoliced()),
        )

    def give_up_policing(self, link: str) -> None:
        """Count a link as one without a police filter for ten minutes: its rows made none."""
        self._unpoliced[link] = self._now() + _UNPOLICED

    def _still_unpoliced(self) -> list[str]:
        for link in [each for each, end in self._unpoliced.items() if self._now() >= end]:
            del self._unpoliced[link]
        return list(self._unpoliced)

    def _look_at_tunnel(self) -> None:
        """Look at the tunnel's link if it is time, or another address or type is set.

        While the address is on no link, what was last known holds: running pods keep their MTU.
        """
        chassis = self._ovs.chassis
        tunnel = chassis.get("ovn-encap-ip", ""), chassis.get("ovn-encap-type", "")
        if tunnel == self._tunnel and self._now() < self._next_look:
            return
        self._tunnel = tunnel
        text = tunnel[0].partition(",")[0].strip()  # of several, the first is the tunnels' own
        address = _address(text)
        link = self._mtu_of(address) if address else None
        if address and link:
            self._mtu = link - overhead(tunnel[1], address.version)
        known = bool(link) or not text
        self._unknown = "" if known else f"ovn-encap-ip {text} is on no link of this node"
        self._next_look = self._now() + (_RECHECK if known else _RECHECK_UNKNOWN)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
