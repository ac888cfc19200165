"""The node's table of nftables, `inet ovnlet`: its chains with their rules, sets and counters.

``str`` of a statement is what `nft` shows of it.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

# nft calls it `table inet ovnlet`.
TABLE = "ovnlet"
Destination = IPv4Network | IPv6Network
IP = IPv4Address | IPv6Address
# A protocol's number and a port.
Port = tuple[int, int]
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
Key = tuple[object, ...]
Side = Literal["saddr", "daddr"]
_WORD = {4: "ip", 6: "ip6"}
_NAMES = {number: name.lower() for name, number in PROTOCOLS.items()}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class NftTable:
    """The table. A dormant one does nothing."""

    dormant: bool = False

    @property
    def key(self) -> Key:
        """The table's name."""
        return ("nft table", TABLE)

    @property
    def within(self) -> None:
        """None: nothing else removes the table."""
        return None


_IN_TABLE = NftTable().key


@dataclass(frozen=True, slots=True)
class NftCounter:
    """A named counter. It keeps its figures while the rules that name it change."""

    name: str

    @property
    def key(self) -> Key:
        """The counter's name."""
        return ("nft counter", self.name)

    @property
    def within(self) -> Key:
        """The key of the table."""
        return _IN_TABLE


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a set: prefixes, or ports, or prefixes with the counter of each.

    Prefixes do not overlap.
    """

    of: frozenset[Destination | Port | tuple[Destination, str]]

    def __str__(self) -> str:
        """Return how many there are, and which if they are few."""
        shown = sorted(map(_element, self.of))
        if len(shown) > _SHOWN:
            return f"{len(shown)} elements"
        return ", ".join(shown) if shown else "no elements"

    def __len__(self) -> int:
        """Return their number."""
        return len(self.of)


def _element(each: Destination | Port | tuple[Destination, str]) -> str:
    if not isinstance(each, tuple):
        return str(each)
    first, second = each
    if isinstance(first, int):
        return f"{_NAMES.get(first, first)} . {second}"
    return f"{first} : {second}"


Kind = Literal["ipv4", "ipv6", "ports", "ipv4 counters", "ipv6 counters"]


@dataclass(frozen=True, slots=True)
class NftSet:
    """A set. Its kind cannot be changed, so it is part of the key. A foreign one has none."""

    name: str
    kind: Kind | None
    elements: Elements

    @property
    def key(self) -> Key:
        """The name and the kind."""
        return ("nft set", self.name, self.kind or "of another kind")

    @property
    def within(self) -> Key:
        """The key of the table."""
        return _IN_TABLE


# Statements: those that match, then those that act.


@dataclass(frozen=True, slots=True)
class Link:
    """Match packets that come in or go out by a link."""

    name: str
    outgoing: bool = False

    def __str__(self) -> str:
        """Return it as nft does."""
        return f'{"oifname" if self.outgoing else "iifname"} "{self.name}"'


@dataclass(frozen=True, slots=True)
class InSet:
    """Match an address of the packet by a set of that family, or its absence from the set."""

    side: Side
    family: int
    name: str
    absent: bool = False

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"{_WORD[self.family]} {self.side} {'!= ' if self.absent else ''}@{self.name}"


@dataclass(frozen=True, slots=True)
class OriginalInSet:
    """Match the destination that the connection had before it was translated."""

    family: int
    name: str
    absent: bool = False

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"ct original {_WORD[self.family]} daddr {'!= ' if self.absent else ''}@{self.name}"


@dataclass(frozen=True, slots=True)
class OriginalPortInSet:
    """Match the protocol, and the port that the connection had before it was translated."""

    name: str

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"meta l4proto . ct original proto-dst @{self.name}"


@dataclass(frozen=True, slots=True)
class InPrefix:
    """Match an address of the packet by one prefix."""

    side: Side
    prefix: Destination

    def __str__(self) -> str:
        """Return it as nft does."""
        one = self.prefix.prefixlen == self.prefix.max_prefixlen
        shown = self.prefix.network_address if one else self.prefix
        return f"{_WORD[self.prefix.version]} {self.side} {shown}"


@dataclass(frozen=True, slots=True)
class Marked:
    """Match packets whose mark has this bit."""

    bit: int

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"meta mark & {self.bit:#010x} == {self.bit:#010x}"


@dataclass(frozen=True, slots=True)
class Protocol:
    """Match the transport protocol; with a port also the destination port."""

    number: int
    port: int | None = None

    def __str__(self) -> str:
        """Return it as nft does."""
        name = _NAMES.get(self.number, self.number)
        return f"meta l4proto {name}" if self.port is None else f"{name} dport {self.port}"


@dataclass(frozen=True, slots=True)
class TcpFlag:
    """Match TCP packets that have a flag, or that lack it."""

    bit: int
    absent: bool = False

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"tcp flags & {self.bit:#x} {'==' if self.absent else '!='} 0"


SYN, RST = 0x02, 0x04


@dataclass(frozen=True, slots=True)
class State:
    """Match the state that connection tracking has of the packet: a bit of ``ct state``."""

    bit: int

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"ct state {'invalid' if self.bit == INVALID else 'new'}"


INVALID, NEW = 1, 8


@dataclass(frozen=True, slots=True)
class Unmark:
    """Set the packet's mark to zero."""

    def __str__(self) -> str:
        """Return it as nft does."""
        return "meta mark set 0x00000000"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Translate the source to the address of the link by which the packet leaves."""

    def __str__(self) -> str:
        """Return it as nft does."""
        return "masquerade fully-random"


@dataclass(frozen=True, slots=True)
class SourceNat:
    """Translate the source to an address."""

    address: IP

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"snat {_WORD[self.address.version]} to {self.address} fully-random"


@dataclass(frozen=True, slots=True)
class Verdict:
    """End the chain, accept or drop the packet, or go to a chain."""

    what: Literal["return", "accept", "drop", "jump", "goto"]
    chain: str = ""

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"{self.what} {self.chain}".strip()


@dataclass(frozen=True, slots=True)
class CountBy:
    """Count by the counter that a map has for an address of the packet."""

    side: Side
    family: int
    name: str

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"counter name {_WORD[self.family]} {self.side} map @{self.name}"


Statement = (
    Link
    | InSet
    | OriginalInSet
    | OriginalPortInSet
    | InPrefix
    | Marked
    | Protocol
    | TcpFlag
    | State
    | Unmark
    | Masquerade
    | SourceNat
    | Verdict
    | CountBy
)
Rule = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a chain in order. ``foreign`` counts those that differ from the desired ones."""

    of: tuple[Rule, ...]
    foreign: int = 0

    def __str__(self) -> str:
        """Return how many there are."""
        return f"{self.foreign} others" if self.foreign else f"{len(self.of)}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the kernel calls a chain: the chain's type, the hook, and its priority there."""

    type: str
    at: str
    priority: int

    def __str__(self) -> str:
        """Return its parts as nft lists them."""
        return f"{self.type} {self.at} {self.priority}"


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain with its rules. Its hook cannot be changed, so it is part of the key.

    ``accepts`` is whether a packet that no rule matches passes: the chain's policy.
    """

    name: str
    hook: Hook | None
    rules: Rules
    accepts: bool = True

    @property
    def key(self) -> Key:
        """The name and the hook."""
        where = () if self.hook is None else (self.hook,)
        return ("nft chain", self.name, *where)

    @property
    def within(self) -> Key:
        """The key of the table."""
        return _IN_TABLE


NftResource = NftTable | NftCounter | NftSet | NftChain
