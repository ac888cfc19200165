"""The node's table of nftables, `inet ovnlet`: its chains with their rules, sets and counters."""

from dataclasses import dataclass
from typing import Literal

from ovnlet.core.resources.nft_statements import PROTOCOL_NAMES, Destination, Rule

# nft calls it `table inet ovnlet`.
TABLE = "ovnlet"
# A protocol's number and a port.
Port = tuple[int, int]
# The element `*` of nft, which every packet matches. It is always foreign.
ANY: Port = (0, 0)
Key = tuple[object, ...]
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
    if each == ANY:
        return "*"
    if isinstance(first, int):
        return f"{PROTOCOL_NAMES.get(first, first)} . {second}"
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
