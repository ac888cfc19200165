"""Limits of a pod's traffic: what is asked for in OVSDB's rows, and what the kernel's traffic control has of it.

Rates are in bit/s of whole Ethernet frames and bursts in bits. What OVSDB says is a wish: in force is what tc says.
"""

from dataclasses import dataclass

HTB, TBF, NETEM, PFIFO = "htb", "tbf", "netem", "pfifo"
# The action of a filter, by which a bridge in the kernel polices what comes in.
POLICE = "police"
# ovs-vswitchd turns queue N of a linux-htb into class 1:(N+1); all packets go to queue 0.
OVS_CLASS = 0x0001_0001
# A root qdisc with this handle inside a pod is ours, and so are leaves with these on the node, each of its kind.
HANDLE = 0x0157_0000
LEAVES = {NETEM: 0x0158_0000, PFIFO: 0x0159_0000}
# Of a pfifo, in packets. The kernel's own queue holds a thousand: seconds at a low rate. And in a bridge in userspace
# all ports send by one socket, whose buffer holds some ninety: a pod that is sent too much would starve all the others.
SHORT = 30
_Key = tuple[object, ...]


def module(kind: str) -> str:
    """The kernel's module that has it."""
    return f"act_{kind}" if kind == POLICE else f"sch_{kind}"


@dataclass(frozen=True, slots=True)
class OvsQos:
    """A QoS row of type linux-htb bound to the Port, and its one Queue: the pod's ingress, a switch port's egress.

    ``rate`` None is a class without a limit, for netem to hang on. ``told`` are keys of QoS.other_config that htb does
    not read and people do. ``intact`` is only False where the rows are not as they would be made: several, unbound, of
    another type.
    """

    port: _Key
    name: str
    rate: int | None
    burst: int
    labels: frozenset[tuple[str, str]]
    told: frozenset[tuple[str, str]] = frozenset()
    intact: bool = True

    @property
    def key(self) -> _Key:
        return ("shaping", self.name)

    @property
    def within(self) -> _Key:
        return self.port


@dataclass(frozen=True, slots=True)
class OvsPolicing:
    """Interface.ingress_policing_rate and _burst, in kbit: the pod's egress."""

    port: _Key
    name: str
    rate: int
    burst: int

    @property
    def key(self) -> _Key:
        return ("policing", self.name)

    @property
    def within(self) -> _Key:
        return self.port


@dataclass(frozen=True, slots=True)
class HtbQdisc:
    """What ovs-vswitchd made of a OvsQos, its htb class on the node's end. It goes with the rows, never by us."""

    veth: _Key
    host: str
    rate: int | None

    @property
    def key(self) -> _Key:
        return ("qdisc", self.host)

    @property
    def within(self) -> _Key:
        return self.veth


@dataclass(frozen=True, slots=True)
class PoliceFilter:
    """What ovs-vswitchd made of a OvsPolicing, its filter on the node's end. It goes with the columns, never by us."""

    veth: _Key
    host: str
    rate: int

    @property
    def key(self) -> _Key:
        return ("policer", self.host)

    @property
    def within(self) -> _Key:
        return self.veth


@dataclass(frozen=True, slots=True)
class TbfQdisc:
    """A token bucket (tbf) at the root of the pod's own end: its egress waits in the pod instead of being dropped."""

    veth: _Key
    pod: str
    rate: int
    burst: int

    @property
    def key(self) -> _Key:
        return ("shaper", self.pod)

    @property
    def within(self) -> _Key:
        return self.veth


@dataclass(frozen=True, slots=True)
class LeafQdisc:
    """The queue in ovs-vswitchd's class: netem, which delays and loses, or else a pfifo, which is only short.

    In microseconds, packets and millionths.
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
        return ("leaf", self.host)

    @property
    def within(self) -> _Key:
        return self.veth
