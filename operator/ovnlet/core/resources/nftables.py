"""Source NAT on the node, in one nftables table of our own."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

# nft calls it `table inet ovnlet`.
TABLE = "ovnlet"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Source NAT to the node's address for packets that pods of ``sources`` send through this node.

    Packets to ``inside`` and packets that leave through ``nic`` keep their source.

    The whole table is one resource and is written in one transaction. Existing connections keep
    their address. ``intact`` is False only if the observed table differs from the one we would
    write.
    """

    nic: str
    sources: tuple[IPv4Network | IPv6Network, ...]
    inside: tuple[IPv4Network | IPv6Network, ...]
    intact: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        """The interface into the cluster network."""
        return ("masquerade", self.nic)

    @property
    def within(self) -> None:
        """None: nothing else removes the table."""
        return None
