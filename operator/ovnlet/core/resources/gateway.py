"""What the node as a gateway has outside of its own table: rules and routes, and accepts."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

Destination = IPv4Network | IPv6Network
Key = tuple[object, ...]
# The table of iptables whose chains may drop what pods send, as nft calls it.
FILTER = "filter"
# Before the family of a table of `iptables-legacy`, which nft does not show.
LEGACY = "legacy "
# Those in which kube-ovn-cni makes chains of its own.
OF_KUBE_OVN = ("nat", "mangle")


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule of our protocol: packets from a source are routed by a table of their own."""

    source: Destination
    table: int
    priority: int

    @property
    def key(self) -> Key:
        """All of it: the kernel cannot change a rule."""
        return ("policy rule", self.source, "table", self.table, "priority", self.priority)

    @property
    def within(self) -> None:
        """None: nothing else removes a rule."""
        return None


@dataclass(frozen=True, slots=True)
class PolicyRoute:
    """A route of our protocol in a table of its own, by a gateway that a link reaches."""

    table: int
    destination: Destination
    via: IPv4Address | IPv6Address | None
    link: str

    @property
    def key(self) -> Key:
        """The table, and the whole route: a new one comes before the old one goes."""
        return ("policy route", self.table, self.destination, "via", self.via, "dev", self.link)

    @property
    def within(self) -> None:
        """None: nothing that is ours removes a route."""
        return None


class Accepted(NamedTuple):
    """Packets from a prefix, or to it."""

    to: bool
    prefix: Destination

    def __str__(self) -> str:
        """Return it as iptables does."""
        return f"{'-d' if self.to else '-s'} {self.prefix}"


@dataclass(frozen=True, slots=True)
class Accepts:
    """Our rules in a chain of iptables: what they accept, before all other rules.

    ``family`` is that of the table, `ip` or `ip6`, behind LEGACY for `iptables-legacy`. ``first``
    is whether they are the first rules there, in this order; of ``spoiled`` ones something was
    changed.
    """

    family: str
    chain: str
    accepted: tuple[Accepted, ...]
    first: bool = True
    spoiled: int = 0

    @property
    def key(self) -> Key:
        """The family and the chain."""
        return ("accepts", self.family, self.chain)

    @property
    def within(self) -> None:
        """None: nothing that is ours removes the rules."""
        return None


@dataclass(frozen=True, slots=True)
class KubeOvnChains:
    """Chains that kube-ovn-cni left in a table of `iptables-nft`. They are never desired."""

    family: str
    table: str
    names: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The family and the table."""
        return ("kube-ovn chains", self.family, self.table)

    @property
    def within(self) -> None:
        """None: nothing that is ours removes them."""
        return None


@dataclass(frozen=True, slots=True)
class KubeOvnRules:
    """Rules that kube-ovn-cni left in the table `filter` of `iptables-nft`. Never desired."""

    family: str
    count: int

    @property
    def key(self) -> Key:
        """The family."""
        return ("kube-ovn rules", self.family)

    @property
    def within(self) -> None:
        """None: nothing that is ours removes them."""
        return None


@dataclass(frozen=True, slots=True)
class KubeOvnSets:
    """Sets of ipset that kube-ovn-cni left and no rule refers to. They are never desired."""

    names: tuple[str, ...]

    @property
    def key(self) -> Key:
        """All of them."""
        return ("kube-ovn sets", "ipset")

    @property
    def within(self) -> None:
        """None: nothing that is ours removes them."""
        return None
