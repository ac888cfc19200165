"""A pod's limits: what OVSDB rows request, and what the kernel's traffic control enforces.

Rates are in bit/s of whole Ethernet frames, bursts in bits. OVSDB only states what is requested; tc
shows what is in force.
"""

from dataclasses import dataclass

HTB, TBF, NETEM, PFIFO = "htb", "tbf", "netem", "pfifo"
# The filter action with which a kernel bridge polices incoming packets.
POLICE = "police"
# ovs-vswitchd makes class 1:(N+1) of queue N of a linux-htb. All packets go to queue 0.
OVS_CLASS = 0x0001_0001
# A root qdisc with HANDLE inside a pod is ours, and so is a leaf qdisc on the node that has the
# handle of its kind in LEAVES.
HANDLE = 0x0157_0000
LEAVES = {NETEM: 0x0158_0000, PFIFO: 0x0159_0000}
# Length of a pfifo in packets. The kernel's own queue holds 1000, which takes seconds at a low
# rate. In a userspace bridge all ports send through one socket whose buffer holds about 90 packets,
# so a pod that receives too much would starve all others.
SHORT = 30
_Key = tuple[object, ...]


def module(kind: str) -> str:
    """Return the name of the kernel module that provides the qdisc or action."""
    return f"act_{kind}" if kind == POLICE else f"sch_{kind}"


@dataclass(frozen=True, slots=True)
class OvsQos:
    """A QoS row of type linux-htb bound to the Port, and its one Queue.

    It limits the pod's ingress, which is the switch port's egress. ``rate`` None is a class without
    a limit that netem is attached to. ``other_config`` are keys of QoS.other_config that htb
    ignores and people read. ``intact`` is False only if the observed rows differ from those we
    would write: several rows, unbound, or of another type.
    """

    port: _Key
    name: str
    rate: int | None
    burst: int
    labels: frozenset[tuple[str, str]]
    other_config: frozenset[tuple[str, str]] = frozenset()
    intact: bool = True

    @property
    def key(self) -> _Key:
        """The port's name."""
        return ("shaping", self.name)

    @property
    def within(self) -> _Key:
        """The key of the port."""
        return self.port


@dataclass(frozen=True, slots=True)
class OvsPolicing:
    """Interface.ingress_policing_rate and _burst, in kbit. They limit the pod's egress."""

    port: _Key
    name: str
    rate: int
    burst: int

    @property
    def key(self) -> _Key:
        """The interface's name."""
        return ("policing", self.name)

    @property
    def within(self) -> _Key:
        """The key of the port."""
        return self.port


@dataclass(frozen=True, slots=True)
class HtbQdisc:
    """The htb class that ovs-vswitchd makes of an OvsQos on the host end.

    It disappears with the rows; ovnlet never removes it.
    """

    veth: _Key
    host: str
    rate: int | None

    @property
    def key(self) -> _Key:
        """The host end."""
        return ("qdisc", self.host)

    @property
    def within(self) -> _Key:
        """The key of the veth."""
        return self.veth


@dataclass(frozen=True, slots=True)
class PoliceFilter:
    """The filter that ovs-vswitchd makes of an OvsPolicing on the host end.

    It disappears with the columns; ovnlet never removes it.
    """

    veth: _Key
    host: str
    rate: int

    @property
    def key(self) -> _Key:
        """The host end."""
        return ("policer", self.host)

    @property
    def within(self) -> _Key:
        """The key of the veth."""
        return self.veth


@dataclass(frozen=True, slots=True)
class TbfQdisc:
    """A token bucket (tbf) at the root of the pod's end.

    The pod's egress waits in the pod instead of being dropped.
    """

    veth: _Key
    pod: str
    rate: int
    burst: int

    @property
    def key(self) -> _Key:
        """The pod's end."""
        return ("shaper", self.pod)

    @property
    def within(self) -> _Key:
        """The key of the veth."""
        return self.veth


@dataclass(frozen=True, slots=True)
class LeafQdisc:
    """The queue in ovs-vswitchd's class: netem, which delays and drops, or a short pfifo.

    Times are in microseconds, ``limit`` in packets, ``loss`` in millionths.
    """

    veth: _Key
    host: str
    kind: str
    limit: int
    latency: int = 0
    jitter: int = 0
    loss: int = 0

    @property
    def key(self) -> _Key:
        """The host end."""
        return ("leaf", self.host)

    @property
    def within(self) -> _Key:
        """The key of the veth."""
        return self.veth
