"""The wires between spaces: a bridge in the control space, a management link per node, a tunnel link between two."""

from __future__ import annotations

import subprocess

from testbed import layout
from testbed.service import BedError
from testbed.space import CLEAN, Space

MANAGEMENT, TUNNEL = "eth0", "eth1"


def lay_control(control: Space, *, tunnels: bool) -> None:
    # A router without an uplink says "unreachable"; a host that does not forward says nothing, and kubelet then waits
    # seconds for clouds that are not there.
    script = (
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1;"
        "ip link add underlay type bridge; ip link set underlay up;"
        f"ip addr add {layout.CONTROL_IP}/24 dev underlay; ip addr add {layout.CONTROL_IP6}/64 dev underlay nodad;"
    )
    if tunnels:
        script += (
            "ip link add tunnels type bridge; ip link set tunnels up; ethtool -K tunnels tx off"
        )
    control.sh(script)


def lay_node(control: Space, node: Space, index: int, *, tunnel: bool) -> None:
    _link(control, node, f"n{index}", "underlay", MANAGEMENT)
    if tunnel:
        _link(control, node, f"t{index}", "tunnels", TUNNEL)
        control.run(["ethtool", "-K", f"t{index}", "tx", "off"])
    node.sh(
        f"ip addr add {layout.node_ip(index)}/24 dev {MANAGEMENT};"
        f"ip addr add {layout.node_ip6(index)}/64 dev {MANAGEMENT} nodad; ip link set {MANAGEMENT} up;"
        f"ip route add default via {layout.CONTROL_IP}; ip -6 route add default via {layout.CONTROL_IP6}"
    )


def _link(control: Space, node: Space, name: str, bridge: str, peer: str) -> None:
    """Made in the control space's network, from the machine's PID namespace: there `netns PID` is the node's pid."""
    entered = ["nsenter", f"--target={control.pid}", "--net", "ip", "link"]
    # A node that died a moment ago: the kernel is perhaps still taking its end of the wire away.
    subprocess.run([*entered, "delete", name], env=CLEAN, capture_output=True, check=False)
    veth = ["type", "veth", "peer", "name", peer, "netns", str(node.pid)]
    done = subprocess.run(
        [*entered, "add", name, "master", bridge, "up", *veth],
        env=CLEAN,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BedError(f"link {name}: {done.stderr.strip()}")
