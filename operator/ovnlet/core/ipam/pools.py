"""`IPPool` objects as values: addresses of a Subnet that only pods naming the pool get."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import chain, islice
from typing import Any, ClassVar

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.subnets import Range, Subnet, covered

# Addresses of a family that are looked at for a free one: an IPv6 pool may have 2**64.
_SEARCHED = 2**17


@dataclass(frozen=True, slots=True)
class IpPool:
    """An IPPool. ``spans`` are the first and last address of each entry, in the order given.

    ``wrong`` says which entry cannot be parsed, or is empty. ``status`` is as the API server has
    it; a change of it alone is none.
    """

    kind: ClassVar[str] = "IPPool"
    api_version: ClassVar[str] = "kubeovn.io/v1"
    namespace: ClassVar[str] = ""

    name: str
    object_uid: str
    subnet: str
    spans: tuple[tuple[Address, Address], ...] = ()
    wrong: str = ""
    status: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def owner(self) -> tuple[str, str]:
        """An empty namespace, and the name."""
        return ("", self.name)

    @property
    def families(self) -> frozenset[int]:
        """The address families (4, 6) that the pool has."""
        return frozenset(first.version for first, _ in self.spans)

    def holds(self, address: Address) -> bool:
        """Return whether the address is in the pool."""
        spans = ((first, last) for first, last in self.spans if first.version == address.version)
        return any(int(first) <= int(address) <= int(last) for first, last in spans)

    def allows(self, address: Address) -> bool:
        """Return whether a pod of the pool may have the address.

        Any address of a family that the pool does not have is allowed.
        """
        return address.version not in self.families or self.holds(address)

    def why_not(self, subnet: Subnet) -> str | None:
        """Return why pods of this Subnet cannot use the pool, or None if they can."""
        if self.wrong:
            return self.wrong
        if self.subnet != subnet.name:
            return f"it belongs to subnet {self.subnet}, but the pod is in {subnet.name}"
        for first, last in self.spans:  # searching a large unusable range might never end
            if not any(first in network and last in network for network in subnet.networks):
                shown = str(first) if first == last else f"{first}..{last}"
                return f"it has {shown}, which is not inside {subnet.cidr}"
        if not self.spans:
            return "it has no addresses"
        if all(any(map(partial(_covers, span), subnet.excluded)) for span in self.spans):
            return f"excludeIps of subnet {subnet.name} have all of its addresses"
        return None

    def choose(
        self, subnet: Subnet, is_free: Callable[[Address], bool], preferred: tuple[Address, ...]
    ) -> tuple[Address, ...] | None:
        """Return one address of each family that the pool has, or None if a family has none free.

        A preferred address is taken first, then the first free one in order.
        """
        chosen = []
        for family in sorted(self.families & subnet.families):
            first = (each for each in preferred if each.version == family)
            candidates = chain(first, islice(self._addresses(family), _SEARCHED))
            usable = (
                each
                for each in candidates
                if self.holds(each) and subnet.grants(each) and is_free(each)
            )
            chosen.append(next(usable, None))
        return None if None in chosen else tuple(each for each in chosen if each is not None)

    def capacity(self, subnet: Subnet, family: int) -> int:
        """Return how many addresses of a family new pods can get from the pool."""
        taken = [(int(r.first), int(r.last)) for r in subnet.excluded if r.first.version == family]
        fixed = [g for g in subnet.gateways if g.version == family]
        for network in subnet.networks:
            if network.version == family:
                fixed += [network.network_address, network.broadcast_address]
        taken += [(int(address), int(address)) for address in fixed]
        spans = sorted((int(a), int(b)) for a, b in self.spans if a.version == family)
        count, reached = 0, -1
        for first, last in spans:  # entries may overlap
            low = max(first, reached + 1)
            if low <= last:
                count += last - low + 1 - covered(taken, low, last)
                reached = last
        return count

    def ranges(self) -> tuple[Range, ...]:
        """Return the entries as ranges."""
        return tuple(Range(first, last) for first, last in self.spans)

    def _addresses(self, family: int) -> Iterator[Address]:
        """Yield every address of a family, in the order of the entries."""
        for first, last in self.spans:
            for offset in range(int(last) - int(first) + 1) if first.version == family else ():
                yield first + offset


def read(
    name: str, object_uid: str, spec: Mapping[str, Any], status: Mapping[str, Any] | None = None
) -> IpPool:
    """Return the IPPool of a spec.

    Entries are addresses, ranges `first..last` and prefixes, as in Kube-OVN.
    """
    spans, wrong = [], ""
    for entry in map(str, spec.get("ips") or ()):
        try:
            spans.append(_span(entry))
        except ValueError as error:
            wrong = wrong or f"its ips have {entry!r}: {error}"
    subnet = str(spec.get("subnet") or "")
    return IpPool(name, object_uid, subnet, tuple(spans), wrong, status or {})


def _covers(span: tuple[Address, Address], excluded: Range) -> bool:
    return all(map(excluded.holds, span))


def _span(entry: str) -> tuple[Address, Address]:
    """Return the first and the last address of an entry. Raises ValueError."""
    if "/" in entry:
        network = ip_network(entry.strip(), strict=False)
        return network.network_address, network.broadcast_address
    first, dots, last = entry.partition("..")
    ends = ip_address(first.strip()), ip_address((last if dots else first).strip())
    if ends[0].version != ends[1].version or int(ends[0]) > int(ends[1]):
        raise ValueError("it ends before it begins")
    return ends
