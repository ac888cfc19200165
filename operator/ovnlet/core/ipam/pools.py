"""`IPPool` objects as values: addresses of one Subnet that only pods get which name the pool."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, ClassVar

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.subnets import Range, Subnet


@dataclass(frozen=True, slots=True)
class IpPool:
    """``spans`` are first and last of each entry, in their order; ``wrong`` says which entry is none."""

    kind: ClassVar[str] = "IPPool"
    api_version: ClassVar[str] = "kubeovn.io/v1"
    namespace: ClassVar[str] = ""

    name: str
    object_uid: str
    subnet: str
    spans: tuple[tuple[Address, Address], ...] = ()
    wrong: str = ""

    @property
    def owner(self) -> tuple[str, str]:
        return ("", self.name)

    @property
    def families(self) -> frozenset[int]:
        return frozenset(first.version for first, _ in self.spans)

    def holds(self, address: Address) -> bool:
        spans = ((first, last) for first, last in self.spans if first.version == address.version)
        return any(int(first) <= int(address) <= int(last) for first, last in spans)

    def allows(self, address: Address) -> bool:
        """Whether a pod of the pool may have it: of a family of which the pool has none, any."""
        return address.version not in self.families or self.holds(address)

    def why_not(self, subnet: Subnet) -> str | None:
        """What keeps a pod of that Subnet from using it; None if nothing does."""
        if self.wrong:
            return self.wrong
        if self.subnet != subnet.name:
            return f"it is of subnet {self.subnet}, the pod of {subnet.name}"
        for first, last in self.spans:  # a search through what can never be used might not end
            if not any(first in network and last in network for network in subnet.networks):
                return f"it has {first if first == last else f'{first}..{last}'}, which is not inside {subnet.cidr}"
        return None if self.spans else "it has no addresses"

    def choose(
        self, subnet: Subnet, is_free: Callable[[Address], bool], preferred: tuple[Address, ...]
    ) -> tuple[Address, ...] | None:
        """One of each family that it has: a preferred one, or the first that is free. None where a family has none."""
        chosen = []
        for family in sorted(self.families & subnet.families):
            candidates = (
                each for each in (*preferred, *self._every(family)) if each.version == family
            )
            usable = (
                each
                for each in candidates
                if self.holds(each) and subnet.holds(each) and is_free(each)
            )
            chosen.append(next(usable, None))
        return None if None in chosen else tuple(each for each in chosen if each is not None)

    def ranges(self) -> tuple[Range, ...]:
        """Those of IPv4: OVN keeps others from nothing else."""
        return tuple(
            Range(a, b)
            for a, b in self.spans
            if isinstance(a, IPv4Address) and isinstance(b, IPv4Address)
        )

    def _every(self, family: int) -> Iterator[Address]:
        for first, last in self.spans:
            for offset in range(int(last) - int(first) + 1) if first.version == family else ():
                yield first + offset


def read(name: str, object_uid: str, spec: Mapping[str, Any]) -> IpPool:
    """Entries are addresses, ranges `first..last` and prefixes, as Kube-OVN has them."""
    spans, wrong = [], ""
    for entry in map(str, spec.get("ips") or ()):
        try:
            spans.append(_span(entry))
        except ValueError as error:
            wrong = wrong or f"its ips have {entry!r}: {error}"
    return IpPool(name, object_uid, str(spec.get("subnet") or ""), tuple(spans), wrong)


def _span(entry: str) -> tuple[Address, Address]:
    if "/" in entry:
        network = ip_network(entry.strip(), strict=False)
        return network.network_address, network.broadcast_address
    first, dots, last = entry.partition("..")
    ends = ip_address(first.strip()), ip_address((last if dots else first).strip())
    if ends[0].version != ends[1].version or int(ends[0]) > int(ends[1]):
        raise ValueError("it ends before it begins")
    return ends
