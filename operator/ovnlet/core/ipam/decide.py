"""The pure function at the controller's heart: a claim, its port as observed, its subnet -> the port it should have.

OVN chooses and the controller pins: a port is first `dynamic`; once OVN's answer has every family of the subnet, the
port is rewritten to exactly that answer, and only a port that is pinned is told to anybody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from ovnlet.core.allocation import Address
from ovnlet.core.annotations import key
from ovnlet.core.errors import Invalid
from ovnlet.core.ipam.claims import (
    POOL,
    PROVIDER,
    Binding,
    Claim,
    Wish,
    Workload,
    asked_mac,
    bound,
    named_pool,
    told,
    wishes,
)
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import Subnet
from ovnlet.core.resources.northbound import SwitchPort

UID, FREED = "ovnlet-uid", "ovnlet-freed"


@dataclass(frozen=True, slots=True)
class Seen:
    """A port as observed, and what OVN has answered to `dynamic`."""

    port: SwitchPort
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """``fresh``: the port is one for which OVN is to choose. ``waits``: nothing more can be done until addresses
    are given up. ``tell`` is an Event: its reason and its text.
    """

    port: SwitchPort | None
    binding: Binding | None = None
    fresh: bool = False
    waits: bool = False
    tell: tuple[str, str] | None = None


# Another port than the one named that has this address, or this MAC.
Holder = Callable[[Address | str, str], str | None]
# An IPPool by its name.
Pools = Callable[[str], IpPool | None]


def decide(
    claim: Claim, seen: Seen | None, subnet: Subnet, holder: Holder, pools: Pools = lambda _: None
) -> Decision:
    """``holder`` names another port that has an address or a MAC, if there is one."""
    if seen is not None and (binding := settled(claim, seen)):
        return Decision(_pinned(claim, subnet, binding), binding)
    conflict = _Conflict(claim.port, holder)
    given = told(claim, subnet)
    if given is not None and not conflict.of(given.addresses, given.mac):
        return Decision(_pinned(claim, subnet, given), given)
    try:
        if name := named_pool(claim):
            return _of_pool(claim, seen, subnet, _found(name, pools(name), subnet), conflict)
        return _of_wishes(claim, seen, subnet, wishes(claim, subnet), conflict)
    except Invalid as problem:
        return Decision(_kept(seen), waits=True, tell=("InvalidAnnotation", str(problem)))


def _of_wishes(
    claim: Claim, seen: Seen | None, subnet: Subnet, asked: tuple[Wish, ...], conflict: "_Conflict"
) -> Decision:
    if (
        seen is not None
        and (kept := _inherited(seen, subnet))
        and any(wish.met_by(kept) for wish in asked)
    ):
        return Decision(_pinned(claim, subnet, kept), kept)
    free = [wish for wish in asked if not conflict.of(wish.addresses, wish.mac)]
    if not free:
        taken = "; ".join(conflict.of(wish.addresses, wish.mac) or "" for wish in asked)
        return Decision(None, waits=True, tell=("AddressTaken", taken))
    return _ask(claim, seen, subnet, free[0], conflict)


def settled(claim: Claim, seen: Seen) -> Binding | None:
    """What this very object's port is pinned to: fixed for as long as the object lives."""
    return bound(seen.port.addresses) if seen.port.label(UID) == claim.object_uid else None


def annotations(claim: Claim, binding: Binding, subnet: Subnet, router: str) -> dict[str, str]:
    """All that is told of a pinned port, in one patch."""
    facts = {
        "ip_address": binding.ips,
        "mac_address": binding.mac,
        "cidr": subnet.cidr,
        "gateway": subnet.gateway,
        "logical_switch": subnet.name,
        "allocated": "true",
    }
    if isinstance(claim, Workload):
        facts |= {"logical_router": router, "pod_nic_type": "veth-pair", "routed": "true"}
    else:
        facts |= {"port_name": claim.port}
    return {key(PROVIDER, name): value for name, value in facts.items()}


def missing(claim: Claim, facts: Mapping[str, str]) -> dict[str, str]:
    """What of the facts its annotations do not say."""
    return {name: value for name, value in facts.items() if claim.annotations.get(name) != value}


def retired(seen: Seen, now: int, cool_down: float) -> tuple[SwitchPort | None, float]:
    """What a port becomes whose pod has ended, and in how many seconds to look again.

    It stays, cut off, so that its address is not handed to another pod under old connections. One that was never
    told to anybody goes at once.
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
    port: str
    holder: Holder

    def of(self, addresses: tuple[Address, ...], mac: str) -> str | None:
        """Who has what is asked for, in words."""
        for each in (*addresses, *([mac] if mac else [])):
            if other := self.holder(each, self.port):
                return f"{each} is of {other}"
        return None


def _found(name: str, pool: IpPool | None, subnet: Subnet) -> IpPool:
    why = "there is none of that name" if pool is None else pool.why_not(subnet)
    if pool is None or why:
        raise Invalid(POOL, name, f"addresses, or the name of an IPPool: {why}")
    return pool


def _of_pool(
    claim: Claim, seen: Seen | None, subnet: Subnet, pool: IpPool, conflict: _Conflict
) -> Decision:
    """One address of each family that the pool has; OVN chooses those of the others."""
    mac = asked_mac(claim)
    kept = _inherited(seen, subnet) if seen is not None else None
    if kept and mac in ("", kept.mac) and all(map(pool.allows, kept.addresses)):
        return Decision(_pinned(claim, subnet, kept), kept)
    asked = _asked(seen.port.addresses) if seen is not None else ()
    chosen = pool.choose(subnet, lambda address: not conflict.of((address,), ""), asked)
    if chosen is None:
        return Decision(
            None, waits=True, tell=("AddressTaken", f"every address of IPPool {pool.name} is taken")
        )
    return _ask(claim, seen, subnet, Wish(chosen, mac), conflict)


def _asked(text: str) -> tuple[Address, ...]:
    """What a port asks OVN for, so that a pass does not change what the one before it has asked for."""
    dynamic, *words = text.split() or [""]
    try:
        return tuple(map(ip_address, words)) if dynamic == "dynamic" else ()
    except ValueError:  # not of our writing
        return ()


def _ask(
    claim: Claim, seen: Seen | None, subnet: Subnet, wish: Wish, conflict: _Conflict
) -> Decision:
    """Have OVN choose what is not asked for, and take its answer if it is whole and what was asked."""
    if wish.mac and {address.version for address in wish.addresses} == subnet.families:
        binding = Binding(wish.mac, wish.addresses)
        return Decision(_pinned(claim, subnet, binding), binding)
    request = " ".join(("dynamic", *map(str, wish.addresses)))
    port = _port(claim, subnet, request)
    asked = seen is not None and (seen.port.switch, seen.port.addresses) == (subnet.name, request)
    answer = bound(seen.answer) if seen is not None and asked else None
    if answer is None:
        return Decision(port, fresh=True)
    return _answered(wish, answer, claim, subnet, conflict)


def _answered(
    wish: Wish, answer: Binding, claim: Claim, subnet: Subnet, conflict: _Conflict
) -> Decision:
    if lacking := subnet.families - {address.version for address in answer.addresses}:
        words = " and ".join(f"IPv{family}" for family in sorted(lacking))
        # OVN gives such a port nothing when an address becomes free: another one is made then.
        return Decision(
            None,
            waits=True,
            tell=("SubnetFull", f"subnet {subnet.name} has no {words} address left"),
        )
    if not set(wish.addresses) <= set(answer.addresses):
        given = f"OVN gave {answer.ips} where {', '.join(map(str, wish.addresses))} was asked for"
        return Decision(None, waits=True, tell=("AddressTaken", given))
    binding = Binding(wish.mac or answer.mac, answer.addresses)
    if taken := conflict.of(binding.addresses, binding.mac):
        return Decision(None, tell=("AddressTaken", f"OVN gave {answer.ips}, but {taken}"))
    return Decision(_pinned(claim, subnet, binding), binding)


def _inherited(seen: Seen, subnet: Subnet) -> Binding | None:
    """A port of that name from an earlier pod: a StatefulSet's pod, and whoever else comes back, keeps its address."""
    return bound(seen.port.addresses) if seen.port.switch == subnet.name else None


def _kept(seen: Seen | None) -> SwitchPort | None:
    return seen.port if seen is not None else None


def _pinned(claim: Claim, subnet: Subnet, binding: Binding) -> SwitchPort:
    """A pod sends nothing but as itself; a node also sends what it forwards and what bears its other addresses."""
    secured = str(binding) if isinstance(claim, Workload) else ""
    return replace(_port(claim, subnet, str(binding)), port_security=secured)


def _port(claim: Claim, subnet: Subnet, addresses: str) -> SwitchPort:
    labels = claim.labels | {UID: claim.object_uid, "ls": subnet.name}
    return SwitchPort(
        subnet.name,
        claim.port,
        addresses,
        options=frozenset(claim.options.items()),
        labels=frozenset(labels.items()),
    )
