"""Statements of rules of nftables: those that match, and those that act.

``str`` of a statement is what `nft` shows of it.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Destination = IPv4Network | IPv6Network
IP = IPv4Address | IPv6Address
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
Side = Literal["saddr", "daddr"]
PROTOCOL_NAMES = {number: name.lower() for name, number in PROTOCOLS.items()}
_WORD = {4: "ip", 6: "ip6"}


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
        name = PROTOCOL_NAMES.get(self.number, self.number)
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
class Redirect:
    """Translate the destination to a port of the node itself."""

    port: int

    def __str__(self) -> str:
        """Return it as nft does."""
        return f"redirect to :{self.port}"


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
    | Redirect
    | Verdict
    | CountBy
)
Rule = tuple[Statement, ...]
