"""Rows of OVN's northbound database, as far as they are ours: switches, routers, their ports, routes and policies."""

from dataclasses import dataclass

Pairs = frozenset[tuple[str, str]]

# The mark in external_ids of every row of ours; its value names the object that the row is for.
MARK = "ovnlet"
# The only keys of these maps that are compared and written; all others are left as they are.
SWITCH_CONFIG = frozenset({"subnet", "ipv6_prefix", "exclude_ips"})
PORT_OPTIONS = frozenset({"router-port", "iface-id-ver", "requested-chassis"})
PORT_LABELS = frozenset(
    {MARK, "ovnlet-uid", "ovnlet-workload", "ovnlet-freed", "vendor", "pod", "ls"}
)


@dataclass(frozen=True, slots=True)
class Router:
    name: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("router", self.name)

    @property
    def within(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Switch:
    """A subnet's logical switch; ``config`` is what OVN's address management goes by."""

    name: str
    config: Pairs

    @property
    def key(self) -> tuple[object, ...]:
        return ("switch", self.name)

    @property
    def within(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class RouterPort:
    router: str
    name: str
    mac: str
    networks: frozenset[str]

    @property
    def key(self) -> tuple[object, ...]:
        return ("router port", self.router, self.name)

    @property
    def within(self) -> tuple[object, ...]:
        return ("router", self.router)


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """``addresses`` is either `dynamic`, with or without a wish, or what it is pinned to.

    ``labels`` are our keys of external_ids.
    """

    switch: str
    name: str
    addresses: str
    port_security: str = ""
    type: str = ""
    enabled: bool = True
    options: Pairs = frozenset()
    labels: Pairs = frozenset()

    @property
    def key(self) -> tuple[object, ...]:
        return ("switch port", self.switch, self.name)

    @property
    def within(self) -> tuple[object, ...]:
        return ("switch", self.switch)

    def label(self, name: str) -> str | None:
        return dict(self.labels).get(name)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    router: str
    prefix: str
    nexthop: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("static route", self.router, self.prefix, self.nexthop)

    @property
    def within(self) -> tuple[object, ...]:
        return ("router", self.router)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a packet does that matches; ``nexthops`` only where it is rerouted."""

    router: str
    priority: int
    match: str
    action: str
    nexthops: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[object, ...]:
        return ("policy", self.router, self.priority, self.match)

    @property
    def within(self) -> tuple[object, ...]:
        return ("router", self.router)


Row = Router | Switch | RouterPort | SwitchPort | StaticRoute | Policy
Rows = frozenset[Row]
ABSENT: Rows = frozenset()

# A router's port comes before the switch's that names it; routes and policies need the ports they lead to.
ORDER: tuple[type[Row], ...] = (Router, Switch, RouterPort, SwitchPort, StaticRoute, Policy)
