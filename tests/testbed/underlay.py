"""The links between spaces: a bridge in the control space and a management link to each node.

With two nodes there is a tunnel link to each as well, on a bridge of its own.
"""

from __future__ import annotations

from testbed import layout
from testbed.service import BedError
from testbed.space import Space

MANAGEMENT, TUNNEL = "eth0", "eth1"


def lay_control(control: Space, *, tunnels: bool) -> None:
    """Create the bridges in the control space, and make it a router between the nodes."""
    # A router without an uplink answers "unreachable". A host that does not forward answers
    # nothing, and kubelet then waits seconds for the metadata servers of clouds.
    script = (
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1;"
        "ip link add underlay type bridge; ip link set underlay up;"
        f"ip addr add {layout.CONTROL_IP}/24 dev underlay;"
        f"ip addr add {layout.CONTROL_IP6}/64 dev underlay nodad;"
    )
    if tunnels:
        script += (
            "ip link add tunnels type bridge; ip link set tunnels up; ethtool -K tunnels tx off"
        )
    control.sh(script)


def lay_node(control: Space, node: Space, index: int, *, tunnel: bool) -> None:
    """Connect a node to the control space, and give it its addresses and default routes."""
    _link(control, node, f"n{index}", "underlay", MANAGEMENT)
    if tunnel:
        _link(control, node, f"t{index}", "tunnels", TUNNEL)
        control.run(["ethtool", "-K", f"t{index}", "tx", "off"])
    node.sh(
        f"ip addr add {layout.node_ip(index)}/24 dev {MANAGEMENT};"
        f"ip addr add {layout.node_ip6(index)}/64 dev {MANAGEMENT} nodad;"
        f"ip link set {MANAGEMENT} up;"
        f"ip route add default via {layout.CONTROL_IP};"
        f"ip -6 route add default via {layout.CONTROL_IP6}"
    )


def route_pods(control: Space) -> None:
    """Route pods from the control space by the first node: the API server's proxy reaches them.

    It is not so from the start, because the control space is the outside for tests of the gateway.
    """
    gateways = (layout.node_ip(0), layout.node_ip6(0))
    for prefix, via in zip(layout.PODS.split(","), gateways, strict=True):
        control.sh(f"ip -{6 if ':' in via else 4} route replace {prefix} via {via}")


def unroute_pods(control: Space) -> None:
    """Take the routes of ``route_pods`` back."""
    for prefix in layout.PODS.split(","):
        control.sh(f"ip -{6 if ':' in prefix else 4} route del {prefix}")


def lay_member(control: Space, member: Space, index: int) -> None:
    """Connect a member of the databases' cluster to the control space."""
    _link(control, member, f"db{index}", "underlay", MANAGEMENT)
    member.sh(
        f"ip addr add {layout.member_ip(index)}/24 dev {MANAGEMENT}; ip link set {MANAGEMENT} up"
    )


def _link(control: Space, node: Space, name: str, bridge: str, peer: str) -> None:
    """Add a veth pair between a bridge of the control space and the node."""
    # Only the network namespace is entered: `netns PID` is a PID of the machine's namespace.
    # If the node was destroyed just now, the kernel may still be removing its end of the link.
    control.result(["ip", "link", "delete", name], namespaces=["--net"])
    veth = ["type", "veth", "peer", "name", peer, "netns", str(node.pid)]
    done = control.result(
        ["ip", "link", "add", name, "master", bridge, "up", *veth], namespaces=["--net"]
    )
    if done.returncode:
        raise BedError(f"link {name}: {done.stderr.strip()}")
