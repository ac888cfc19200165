"""Source NAT on the node: one table of our own."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

# nft calls it `table inet ovnlet`.
TABLE = "ovnlet"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """What pods of ``sources`` send out by this node bears its address.

    What goes to ``inside``, or leaves by ``nic``, keeps its source.

    The whole table is one thing: it is written in one transaction, and what was begun before keeps its address.
    ``intact`` is only False where the table is not as it would be made.
    """

    nic: str
    sources: tuple[IPv4Network | IPv6Network, ...]
    inside: tuple[IPv4Network | IPv6Network, ...]
    intact: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        return ("masquerade", self.nic)

    @property
    def within(self) -> None:
        return None
