"""`IPPool` objects as values: addresses of a Subnet that only pods naming the pool get."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

from ovnlet.core.allocation import Address
from ovnlet.core.ipam.subnets import Range, Subnet


@dataclass(frozen=True, slots=True)
class IpPool:
    """An IPPool. ``spans`` are the first and last address of each entry, in the order given.

    ``wrong`` says which entry cannot be parsed, or is empty.
    """

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
            candidates = (
                each for each in (*preferred, *self._addresses(family)) if each.version == family
            )
            usable = (
                each
                for each in candidates
                if self.holds(each) and subnet.grants(each) and is_free(each)
            )
            chosen.append(next(usable, None))
        return None if None in chosen else tuple(each for each in chosen if each is not None)

    def ranges(self) -> tuple[Range, ...]:
        """Return the entries as ranges."""
        return tuple(Range(first, last) for first, last in self.spans)

    def _addresses(self, family: int) -> Iterator[Address]:
        """Yield every address of a family, in the order of the entries."""
        for first, last in self.spans:
            for offset in range(int(last) - int(first) + 1) if first.version == family else ():
                yield first + offset


def read(name: str, object_uid: str, spec: Mapping[str, Any]) -> IpPool:
    """Return the IPPool of a spec.

    Entries are addresses, ranges `first..last` and prefixes, as in Kube-OVN.
    """
    spans, wrong = [], ""
    for entry in map(str, spec.get("ips") or ()):
        try:
            spans.append(_span(entry))
        except ValueError as error:
            wrong = wrong or f"its ips have {entry!r}: {error}"
    return IpPool(name, object_uid, str(spec.get("subnet") or ""), tuple(spans), wrong)


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
