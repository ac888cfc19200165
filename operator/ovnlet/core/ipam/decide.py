"""The controller's central pure function: from claim, observed port and subnet to the desired port.

A port whose claim asks for an address of the subnet's first family is pinned at once: the rest
follows from that address. For others OVN chooses, and the controller pins: a port is `dynamic`
first, and once OVN's answer has every family of the subnet, it is rewritten to exactly that answer.
Only the addresses of a pinned port are published.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ovnlet.core.allocation import Address
from ovnlet.core.annotations import key
from ovnlet.core.errors import Invalid
from ovnlet.core.ipam import derived
from ovnlet.core.ipam.address_requests import (
    POOL,
    AddressRequest,
    address_requests,
    asked_mac,
    named_pool,
)
from ovnlet.core.ipam.claims import Binding, Claim, Workload, annotated_binding, bound
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.resources.northbound import SwitchPort

UID, FREED = "ovnlet-uid", "ovnlet-freed"
NO_REQUEST = AddressRequest()
_UNSPECIFIED = "0.0.0.0"  # noqa: S104 - nothing listens on it


@dataclass(frozen=True, slots=True)
class Seen:
    """A port as observed, and OVN's answer to its `dynamic` addresses."""

    port: SwitchPort
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The desired port, and the binding once it is pinned.

    ``fresh`` means that OVN has to choose addresses for the port, of which it is asked for
    ``request``. ``waits`` means that nothing more can be done until addresses become free;
    ``lacks`` are those that the claim asks for. ``event`` is the reason and the message of an
    Event.
    """

    port: SwitchPort | None
    binding: Binding | None = None
    fresh: bool = False
    waits: bool = False
    event: tuple[str, str] | None = None
    request: AddressRequest = NO_REQUEST
    lacks: frozenset[str] = frozenset()

    @property
    def reserved(self) -> frozenset[str]:
        """The addresses and MACs that no other port may get from now on."""
        pinned = bound(self.port.addresses) if self.port is not None else None
        return self.request.words | frozenset(str(pinned or "").split())


# Returns the port that has this address or MAC, other than the named port, or None.
Holder = Callable[[Address | str, str], str | None]
# Returns the IPPool of this name, or None.
Pools = Callable[[str], IpPool | None]


def decide(
    claim: Claim, seen: Seen | None, subnet: Subnet, holder: Holder, pools: Pools = lambda _: None
) -> Decision:
    """Return the port that the claim should have.

    ``holder`` returns another port that has an address or a MAC, if there is one. ``pools`` returns
    an IPPool by name.
    """
    if seen is not None and (binding := settled(claim, seen)):
        return Decision(_pinned(claim, subnet, binding), binding)
    conflict = _Conflict(claim.port, holder)
    annotated = annotated_binding(claim, subnet)
    if annotated is not None and not conflict.of(annotated.addresses, annotated.mac):
        return Decision(_pinned(claim, subnet, annotated), annotated)
    try:
        if name := named_pool(claim):
            pool = _require_usable(name, claim, pools(name), subnet)
            return _from_pool(claim, seen, subnet, pool, conflict)
        return _from_requests(claim, seen, subnet, address_requests(claim, subnet), conflict)
    except Invalid as problem:
        return Decision(_kept(seen), waits=True, event=("InvalidAnnotation", str(problem)))


def _from_requests(
    claim: Claim,
    seen: Seen | None,
    subnet: Subnet,
    requests: tuple[AddressRequest, ...],
    conflict: "_Conflict",
) -> Decision:
    """Decide by the claim's own requests: keep what fits, or else ask for the first free one."""
    if (
        seen is not None
        and (kept := _inherited(seen, subnet))
        and any(request.met_by(kept) for request in requests)
    ):
        return Decision(_pinned(claim, subnet, kept), kept)
    free = [request for request in requests if not conflict.of(request.addresses, request.mac)]
    if not free:
        taken = "; ".join(conflict.of(each.addresses, each.mac) or "" for each in requests)
        lacks = frozenset(word for each in requests for word in each.words)
        return Decision(None, waits=True, event=("AddressTaken", taken), lacks=lacks)
    return _ask(claim, seen, subnet, free[0], conflict)


def settled(claim: Claim, seen: Seen) -> Binding | None:
    """Return the binding that the port of this very object is pinned to, or None.

    It is fixed for the lifetime of the object.
    """
    return bound(seen.port.addresses) if seen.port.label(UID) == claim.identity else None


def retired(seen: Seen, now: int, cool_down: float) -> tuple[SwitchPort | None, float]:
    """Return the port of an ended pod, and the seconds until it has to be checked again.

    The port stays, disabled, during the cool-down, so that its address does not go to another pod
    while old connections still use it. A port that was never published is removed at once.
    """
    if bound(seen.port.addresses) is None:
        return None, 0
    freed = int(seen.port.label(FREED) or now)
    left = freed + cool_down - now
    if left <= 0:
        return None, 0
    labels = dict(seen.port.labels) | {FREED: str(freed)}
    return replace(seen.port, enabled=False, labels=frozenset(labels.items())), left


@dataclass(frozen=True, slots=True)
class _Conflict:
    """The check whether another port than ``port`` has an address or a MAC."""

    port: str
    holder: Holder

    def of(self, addresses: tuple[Address, ...], mac: str) -> str | None:
        """Return in words which port has a requested address or MAC, or None."""
        for each in (*addresses, *([mac] if mac else [])):
            if other := self.holder(each, self.port):
                return f"{each} is in use by {other}"
        return None


def _require_usable(name: str, claim: Claim, pool: IpPool | None, subnet: Subnet) -> IpPool:
    """Return the pool, or raise Invalid if it does not exist or does not fit the subnet."""
    why = "no IPPool has that name" if pool is None else pool.why_not(subnet)
    if pool is None or why:
        allowed = f"addresses, or the name of an IPPool: {why}"
        raise Invalid(key(claim.provider, POOL), name, allowed)
    return pool


def _from_pool(
    claim: Claim, seen: Seen | None, subnet: Subnet, pool: IpPool, conflict: _Conflict
) -> Decision:
    """Decide with one address of each family that the pool has; OVN chooses the other families."""
    mac = asked_mac(claim)
    kept = _inherited(seen, subnet) if seen is not None else None
    if kept and mac in ("", kept.mac) and all(map(pool.allows, kept.addresses)):
        return Decision(_pinned(claim, subnet, kept), kept)
    requested = _requested(seen.port.addresses) if seen is not None else ()
    chosen = pool.choose(subnet, lambda address: not conflict.of((address,), ""), requested)
    if chosen is None:
        return Decision(
            None,
            waits=True,
            event=("AddressTaken", f"every address of IPPool {pool.name} is taken"),
        )
    return _ask(claim, seen, subnet, AddressRequest(chosen, mac), conflict)


def requested_words(text: str) -> frozenset[str]:
    """Return the addresses, as text, that a port asks OVN for; none if it is pinned."""
    return frozenset(map(str, _requested(text)))


def _requested(text: str) -> tuple[Address, ...]:
    """Return the addresses that a port asks OVN for.

    They are preferred, so that a pass does not change what the previous one requested.
    """
    dynamic, *words = text.split() or [""]
    try:
        return tuple(map(ip_address, words)) if dynamic == "dynamic" else ()
    except ValueError:  # not written by ovnlet
        return ()


def _ask(
    claim: Claim, seen: Seen | None, subnet: Subnet, request: AddressRequest, conflict: _Conflict
) -> Decision:
    """Complete a request that has an address of the subnet's first family; let OVN answer others.

    OVN cannot be asked for an IPv4 address that `exclude_ips` has, as it has those of IPPools:
    ovn-northd (25.03) grants it in one run, and another address in the next.
    """
    if request.addresses and request.addresses[0].version == subnet.networks[0].version:
        return _complete(claim, subnet, request, conflict)
    dynamic = " ".join(("dynamic", *map(str, request.addresses)))
    port = _port(claim, subnet, dynamic)
    asked = seen is not None and (seen.port.switch, seen.port.addresses) == (subnet.name, dynamic)
    answer = bound(seen.answer) if seen is not None and asked else None
    if answer is None:
        return Decision(port, fresh=True, request=request)
    return _accept(request, answer, claim, subnet, conflict)


def _complete(
    claim: Claim, subnet: Subnet, request: AddressRequest, conflict: _Conflict
) -> Decision:
    """Pin a request, with the MAC and the IPv6 address that it leaves open derived from it."""
    taken = ""
    for binding in derived.bindings(request, subnet):
        taken = conflict.of(binding.addresses, binding.mac) or ""
        if not taken:
            return Decision(_pinned(claim, subnet, binding), binding)
    return Decision(None, waits=True, event=("AddressTaken", taken), lacks=request.words)


def _accept(
    request: AddressRequest, answer: Binding, claim: Claim, subnet: Subnet, conflict: _Conflict
) -> Decision:
    """Pin OVN's answer if it is complete, as requested and not in use; or else drop the port."""
    if lacking := subnet.families - {address.version for address in answer.addresses}:
        words = " and ".join(f"IPv{family}" for family in sorted(lacking))
        # OVN gives this port nothing when an address becomes free, so a new port is made then.
        return Decision(
            None,
            waits=True,
            event=("SubnetFull", f"subnet {subnet.name} has no {words} address left"),
        )
    if not set(request.addresses) <= set(answer.addresses):
        wanted = ", ".join(map(str, request.addresses))
        reason = f"OVN gave {answer.ips} where {wanted} was requested"
        return Decision(None, waits=True, event=("AddressTaken", reason), lacks=request.words)
    binding = Binding(request.mac or answer.mac, answer.addresses)
    if taken := conflict.of(binding.addresses, binding.mac):
        return Decision(None, event=("AddressTaken", f"OVN gave {answer.ips}, but {taken}"))
    return Decision(_pinned(claim, subnet, binding), binding)


def _inherited(seen: Seen, subnet: Subnet) -> Binding | None:
    """Return the binding of an earlier pod's port with the same name, or None.

    A StatefulSet's pod keeps its address this way, and so does any other pod that comes back.
    """
    return bound(seen.port.addresses) if seen.port.switch == subnet.name else None


def _kept(seen: Seen | None) -> SwitchPort | None:
    return seen.port if seen is not None else None


def _pinned(claim: Claim, subnet: Subnet, binding: Binding) -> SwitchPort:
    """Return the port with these addresses.

    A pod may only send from its own addresses. A node also forwards packets and sends from its
    other addresses, so its port has no port security. In a physical network a pod asks who has its
    address already, by ARP without a sender's address (RFC 5227), which OVN drops unless it is
    named.
    """
    secured = str(binding) if isinstance(claim, Workload) else ""
    if secured and subnet.vlan and any(each.version == 4 for each in binding.addresses):
        secured += f" {_UNSPECIFIED}"
    return replace(_port(claim, subnet, str(binding)), port_security=secured)


def _port(claim: Claim, subnet: Subnet, addresses: str) -> SwitchPort:
    labels = claim.labels | {UID: claim.identity, "ls": subnet.name}
    return SwitchPort(
        subnet.name,
        claim.port,
        addresses,
        options=frozenset(claim.options.items()),
        labels=frozenset(labels.items()),
    )
