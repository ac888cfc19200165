"""Our rows of OVN's northbound database: switches, routers, ports, routes, load balancers."""

from dataclasses import dataclass

Pairs = frozenset[tuple[str, str]]

# The external_ids key that marks every row of ours. Its value names the object the row is for.
MARK = "ovnlet"
# The only keys of these maps that are compared and written. All others stay as they are.
SWITCH_CONFIG = frozenset({"subnet", "ipv6_prefix", "exclude_ips"})
PORT_OPTIONS = frozenset(
    {"router-port", "iface-id-ver", "requested-chassis", "activation-strategy", "network_name"}
)
PORT_LABELS = frozenset(
    {
        MARK,
        "ovnlet-uid",
        "ovnlet-workload",
        "ovnlet-provider",
        "ovnlet-machine",
        "ovnlet-freed",
        "vendor",
        "pod",
        "ls",
    }
)
BALANCER_OPTIONS = frozenset({"reject", "affinity_timeout", "ct_flush"})
BALANCER_LABELS = frozenset({MARK, "ovnlet-service"})
# The name of our group of load balancers. A group has no external_ids for a mark; no two may have
# the same name.
GROUP = "ovnlet"


@dataclass(frozen=True, slots=True)
class Router:
    """A logical router."""

    name: str

    @property
    def key(self) -> tuple[object, ...]:
        """The name."""
        return ("router", self.name)

    @property
    def within(self) -> None:
        """None: nothing else removes a router."""
        return None


@dataclass(frozen=True, slots=True)
class LoadBalancerGroup:
    """A group of load balancers. A switch that refers to it has all of them."""

    name: str

    @property
    def key(self) -> tuple[object, ...]:
        """The name."""
        return ("load balancer group", self.name)

    @property
    def within(self) -> None:
        """None: nothing else removes a group."""
        return None


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """The load balancer of a Service and a protocol.

    ``vips`` leads from each virtual address with its port to the endpoints, comma separated.
    ``grouped`` is whether it is in our group: outside of it, no switch has it.
    """

    name: str
    protocol: str
    vips: Pairs
    options: Pairs = frozenset()
    labels: Pairs = frozenset()
    grouped: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """The name."""
        return ("load balancer", self.name)

    @property
    def within(self) -> None:
        """None: it stays when its group goes."""
        return None

    @property
    def service(self) -> str:
        """The namespace and the name of its Service, separated by a slash."""
        return dict(self.labels).get("ovnlet-service", "")


@dataclass(frozen=True, slots=True)
class Switch:
    """A subnet's logical switch. ``config`` is what OVN's address management uses.

    ``balanced`` is whether the switch has our group of load balancers.
    """

    name: str
    config: Pairs
    balanced: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """The name."""
        return ("switch", self.name)

    @property
    def within(self) -> None:
        """None: nothing else removes a switch."""
        return None


@dataclass(frozen=True, slots=True)
class RouterPort:
    """A logical router port. ``networks`` are its addresses with their prefix lengths."""

    router: str
    name: str
    mac: str
    networks: frozenset[str]

    @property
    def key(self) -> tuple[object, ...]:
        """The router and the name."""
        return ("router port", self.router, self.name)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the router."""
        return ("router", self.router)


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A logical switch port.

    ``addresses`` is either `dynamic`, with or without requested addresses, or what the port is
    pinned to. ``labels`` are our keys of external_ids. ``tag`` is the VLAN ID of a port of type
    `localnet`, 0 for none.
    """

    switch: str
    name: str
    addresses: str
    port_security: str = ""
    type: str = ""
    enabled: bool = True
    options: Pairs = frozenset()
    labels: Pairs = frozenset()
    tag: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """The switch and the name."""
        return ("switch port", self.switch, self.name)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the switch."""
        return ("switch", self.switch)

    def label(self, name: str) -> str | None:
        """Return the value of one of our external_ids, or None."""
        return dict(self.labels).get(name)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A static route of a logical router."""

    router: str
    prefix: str
    nexthop: str

    @property
    def key(self) -> tuple[object, ...]:
        """The router, the prefix and the next hop."""
        return ("static route", self.router, self.prefix, self.nexthop)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the router."""
        return ("router", self.router)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a logical router does with packets that match. Only `reroute` has ``nexthops``."""

    router: str
    priority: int
    match: str
    action: str
    nexthops: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[object, ...]:
        """The router, the priority and the match."""
        return ("policy", self.router, self.priority, self.match)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the router."""
        return ("router", self.router)


Row = (
    Router
    | LoadBalancerGroup
    | Switch
    | RouterPort
    | SwitchPort
    | StaticRoute
    | Policy
    | LoadBalancer
)
Rows = frozenset[Row]
ABSENT: Rows = frozenset()

# A router port comes before the switch port that names it. Routes and policies need the ports that
# they lead to. Switches and load balancers need their group.
ORDER: tuple[type[Row], ...] = (
    Router,
    LoadBalancerGroup,
    Switch,
    RouterPort,
    SwitchPort,
    StaticRoute,
    Policy,
    LoadBalancer,
)
