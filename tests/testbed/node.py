"""A node: a space with Open vSwitch, a chassis, containerd and kubelet, as the bed's parts ask."""

from __future__ import annotations

from testbed import layout, switch, underlay
from testbed.space import Space


class Node(Space):
    """A node, named n0, n1, ... in its bed and in the cluster."""

    __slots__ = ()
    patience = 1.0  # factor of the times for which its programs are waited

    @property
    def index(self) -> int:
        """The node's number."""
        return int(self.role.removeprefix("n"))

    @property
    def ip(self) -> str:
        """The node's IPv4 address."""
        return layout.node_ip(self.index)

    @property
    def ip6(self) -> str:
        """The node's IPv6 address."""
        return layout.node_ip6(self.index)

    def start_switch(self, *, tunnel: bool) -> None:
        """Start Open vSwitch, with a bridge for the tunnel to another node if there is one."""
        switch.start_switch(self, layout.tunnel_ip(self.index) if tunnel else self.ip)
        if tunnel:
            switch.add_tunnel_bridge(self, underlay.TUNNEL, layout.tunnel_ip(self.index))

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl and return its output."""
        return self.run(["ovs-vsctl", "--timeout=10", *words])
