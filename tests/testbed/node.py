"""A node: a space with a switch, a chassis, a runtime and a kubelet, as far as the bed has these parts."""

from __future__ import annotations

from testbed import layout, switch, underlay
from testbed.space import Space


class Node(Space):
    """Named n0, n1, ... in its bed and in the cluster."""

    __slots__ = ()

    @property
    def index(self) -> int:
        return int(self.role.removeprefix("n"))

    @property
    def ip(self) -> str:
        return layout.node_ip(self.index)

    @property
    def ip6(self) -> str:
        return layout.node_ip6(self.index)

    def start_switch(self, *, tunnel: bool) -> None:
        switch.start_switch(self, layout.tunnel_ip(self.index) if tunnel else self.ip)
        if tunnel:
            switch.add_tunnel_bridge(self, underlay.TUNNEL, layout.tunnel_ip(self.index))

    def vsctl(self, *words: str) -> str:
        return self.run(["ovs-vsctl", "--timeout=10", *words])
