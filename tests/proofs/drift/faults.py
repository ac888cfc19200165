"""The faults of one pod's network that foreign tools cause, as command lines for the node."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from proofs.drift.observe import Target

FaultClass = Literal["event", "restart", "resync", "rule"]
Where = Literal["ovs", "link", "pod", "record", "node"]
Tools = list[list[str]]

CUSTOM = ("192.0.2.0/24", "2001:db8:77::/64")
GATEWAYS = ("10.16.0.1", "fd00:10:16::1")
OTHER_BRIDGE = "br-else"  # where ports go that a fault moves off br-int
OTHER_NETNS = "strange"  # where links go that a fault moves off the node


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a pod, by the command lines of `tools`.

    With `allow_extra`, what the tool added may stay beside what was repaired; `cleanup` removes it
    afterwards. `where` is what the tool touches: only faults that leave the inside of the pod
    alone may hit the sentinel pod. Trials of one fault, or of all with the same `budget`, are
    `min_interval` seconds apart. The repair of one that `recomputes` may take a recompute of
    ovn-controller, of which a pod has two and then one a minute. A `limited` fault needs a pod
    with limits. `breaks` is how the
    facts begin that a fault of the node changes, and `restores` those that it puts right again.
    """

    name: str
    where: Where
    tools: Callable[[Target], Tools]
    klass: FaultClass = "event"
    allow_extra: bool = False
    cleanup: Callable[[Target], Tools] = lambda _target: []
    min_interval: float = 0.0
    budget: str = ""
    recomputes: bool = False
    limited: bool = False
    breaks: str = ""
    restores: tuple[str, ...] = ()

    @property
    def fast(self) -> bool:
        """Whether a notification reports the fault, so that the repair takes milliseconds."""
        return self.klass == "event"


def _words(template: str, target: Target) -> list[str]:
    known = {
        "port": target.port,
        "ns": target.netns.rpartition("/")[2],
        "path": target.netns,
        "record": str(target.record),
        "id": target.iface_id,
        "pod": target.pod,
        "mac": target.mac,
        "v4": target.ips[0],
        "v6": target.ips[-1],
        "else": OTHER_BRIDGE,
        "strange": OTHER_NETNS,
        "gw4": GATEWAYS[0],
        "gw6": GATEWAYS[1],
    }
    return [word.format(**known) for word in shlex.split(template)]


def tools(*lines: str) -> Callable[[Target], Tools]:
    """Return a function that fills a target into these command line templates."""
    return lambda target: [_words(line, target) for line in lines]


def _batch(*lines: str) -> Callable[[Target], Tools]:
    """Return several changes made by one process, so that little time passes between them."""
    script = "\\n".join(lines)
    return tools(f"sh -c 'printf \"{script}\\n\" | ip -n {{ns}} -batch -'")


OVS = [
    Fault("port removed from br-int", "ovs", tools("ovs-vsctl del-port br-int {port}")),
    Fault(
        "port on another bridge",
        "ovs",
        tools(
            "sh -c 'u=$(ovs-vsctl get port {port} _uuid);"
            " ovs-vsctl remove bridge br-int ports $u -- add bridge {else} ports $u'"
        ),
        cleanup=tools("ovs-vsctl --if-exists del-port {else} {port}"),
    ),
    Fault(
        "iface-id removed", "ovs", tools("ovs-vsctl remove interface {port} external_ids iface-id")
    ),
    Fault(
        "iface-id changed",
        "ovs",
        tools("ovs-vsctl set interface {port} external_ids:iface-id=other.{pod}"),
    ),
    Fault(
        "iface-id on another row too",
        "ovs",
        tools(
            "ovs-vsctl add-port br-int dup{pod}"
            " -- set interface dup{pod} type=internal external_ids:iface-id={id}"
        ),
        cleanup=tools("ovs-vsctl --if-exists del-port br-int dup{pod}"),
    ),
    Fault(
        "our mark removed", "ovs", tools("ovs-vsctl remove interface {port} external_ids ovnlet")
    ),
    Fault(
        "our mark altered",
        "ovs",
        tools("ovs-vsctl set interface {port} external_ids:ovnlet=c0ffee/eth0"),
    ),
    Fault(
        "other external_ids altered",
        "ovs",
        tools(
            "ovs-vsctl set interface {port} external_ids:pod_name=x"
            " external_ids:ip=10.9.9.9 external_ids:pod_netns=/x"
        ),
    ),
    Fault(
        "all external_ids cleared",
        "ovs",
        tools("ovs-vsctl clear interface {port} external_ids"),
        recomputes=True,
    ),
    # The repair is a recompute of the whole node, which the agent asks of ovn-controller
    # at most once in ten seconds.
    Fault(
        "ovn-installed lost",
        "ovs",
        tools("ovs-vsctl remove interface {port} external_ids ovn-installed"),
        min_interval=10.5,
        recomputes=True,
    ),
]
LINK = [
    Fault("host veth deleted", "link", tools("ip link del {port}")),
    Fault("host veth set down", "ovs", tools("ip link set {port} down")),
    Fault("host veth renamed", "link", tools("ip link set {port} name was{pod}")),
    Fault("host veth's MTU changed", "ovs", tools("ip link set {port} mtu 1280")),
    Fault(
        "host veth moved to another namespace",
        "link",
        tools("ip link set {port} netns {strange}"),
        cleanup=tools("sh -c 'ip -n {strange} link del {port} 2>/dev/null || :'"),
    ),
]
POD = [
    Fault("pod link set down", "pod", tools("ip -n {ns} link set eth0 down")),
    Fault("pod link renamed", "pod", tools("ip -n {ns} link set eth0 name lan0")),
    Fault("pod MAC changed", "pod", tools("ip -n {ns} link set eth0 address 0a:66:66:66:66:66")),
    Fault("pod MTU changed", "pod", tools("ip -n {ns} link set eth0 mtu 1300")),
    Fault("pod IPv4 address removed", "pod", tools("ip -n {ns} address del {v4}/16 dev eth0")),
    Fault("pod IPv6 address removed", "pod", tools("ip -n {ns} address del {v6}/64 dev eth0")),
    Fault("pod addresses flushed", "pod", tools("ip -n {ns} address flush dev eth0 scope global")),
    Fault(
        "a foreign address of the subnet before ours",
        "pod",
        _batch("address del {v4}/16 dev eth0", "address add 10.16.222.7/16 dev eth0"),
        allow_extra=True,
        cleanup=tools("sh -c 'ip -n {ns} address del 10.16.222.7/16 dev eth0 2>/dev/null || :'"),
    ),
    Fault("connected route removed", "pod", tools("ip -n {ns} route del 10.16.0.0/16 dev eth0")),
    Fault(
        "connected IPv6 route removed",
        "pod",
        tools("ip -n {ns} -6 route del fd00:10:16::/64 dev eth0 proto 157"),
    ),
    Fault("default route removed", "pod", tools("ip -n {ns} route del default")),
    Fault("IPv6 default route removed", "pod", tools("ip -n {ns} -6 route del default")),
    # Between two default routes of one metric, Linux chooses by the gateways' neighbour entries.
    Fault(
        "default route replaced", "pod", tools("ip -n {ns} route replace default via 10.16.0.99")
    ),
    Fault(
        "a foreign default route beside ours",
        "pod",
        tools("ip -n {ns} route append default via 10.16.0.99"),
    ),
    Fault(
        "IPv6 default route replaced",
        "pod",
        tools("ip -n {ns} -6 route replace default via fd00:10:16::99 metric 512"),
    ),
    Fault(
        "a foreign IPv6 default route before ours",
        "pod",
        tools("ip -n {ns} -6 route add default via fd00:10:16::99 metric 100"),
    ),
    Fault("custom route removed", "pod", tools(f"ip -n {{ns}} route del {CUSTOM[0]}")),
    Fault("custom IPv6 route removed", "pod", tools(f"ip -n {{ns}} -6 route del {CUSTOM[1]}")),
    Fault(
        "all routes flushed",
        "pod",
        tools("ip -n {ns} route flush dev eth0", "ip -n {ns} -6 route flush dev eth0 proto 157"),
    ),
    Fault(
        "link flapped, IPv6 address gone", "pod", _batch("link set eth0 down", "link set eth0 up")
    ),
    Fault(
        "disable_ipv6 set",
        "pod",
        tools("nsenter --net={path} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6'"),
    ),
    Fault("tx-checksum switched on", "pod", tools("nsenter --net={path} ethtool -K eth0 tx on")),
    Fault(
        "accept_ra altered",
        "pod",
        tools("nsenter --net={path} sh -c 'echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra'"),
        klass="resync",
    ),
]
RECORD = [
    Fault("sandbox record deleted", "record", tools("rm {record}"), klass="resync"),
    Fault("sandbox record torn", "record", tools("truncate -s 40 {record}"), klass="resync"),
]
FAULTS = [*OVS, *LINK, *POD, *RECORD]
