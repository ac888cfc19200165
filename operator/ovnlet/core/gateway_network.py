"""From the cluster to the node's table of nftables: one pure function.

What it means is in docs/explanation/gateway.md. The chains run just before those of kube-proxy and
iptables, whose priorities are nft's `dstnat` and `srcnat`: with an equal priority the one that was
made last would be first. Where kube-proxy has translated a destination, connection tracking has the
one before that. So no packet needs a mark on its way through the node.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

from ovnlet.core.allocation import Address as Ip
from ovnlet.core.allocation import Destination
from ovnlet.core.gateway import Cluster, GatewaySubnet, NatPolicy, collapsed
from ovnlet.core.probes import PORT, Probe
from ovnlet.core.resources.nft_statements import (
    INVALID,
    NEW,
    PROTOCOLS,
    RST,
    SYN,
    CountBy,
    InPrefix,
    InSet,
    Marked,
    Masquerade,
    OriginalInSet,
    OriginalPortInSet,
    Protocol,
    Redirect,
    Rule,
    SourceNat,
    State,
    TcpFlag,
    Unmark,
    Verdict,
)
from ovnlet.core.resources.nftables import (
    Elements,
    Hook,
    Kind,
    NftChain,
    NftCounter,
    NftResource,
    NftSet,
    NftTable,
    Rules,
)
from ovnlet.core.values import prefix

# Names of chains: none is a word of nft's own, which nft would not take as a name.
TRANSLATE, POSTROUTING, DROPPED = "translate", "postrouting", "dropped"
COUNTED, TUNNELS, PROBED = "counted", "tunnels", "probed"
# kube-proxy's mark of packets that need the node's address (--iptables-masquerade-bit 14).
KUBE_PROXY = 0x4000
_BEFORE_SRCNAT, _BEFORE_DSTNAT, _MANGLE, _FILTER = 95, -105, -150, 0
_GENEVE, _VXLAN = 6081, 4789
_TCP, _UDP = PROTOCOLS["TCP"], PROTOCOLS["UDP"]
_FAMILIES = (4, 6)
# What is counted of a Subnet: packets from it, and packets to it.
DIRECTIONS: dict[str, Literal["saddr", "daddr"]] = {"egress": "saddr", "ingress": "daddr"}
# Names of sets and chains have at most 255 bytes; those of Subnets have up to 253.
_LONGEST = 200
_RETURN, _GOTO = Verdict("return"), Verdict("goto", TRANSLATE)


def tables(
    cluster: Cluster, no_snat: Iterable[Destination] = (), probes: Iterable[Probe] = ()
) -> frozenset[NftResource]:
    """Return the table with its sets, chains and counters.

    ``no_snat`` are destinations outside the cluster whose packets keep a pod's address. ``probes``
    are led to the agent.
    """
    return frozenset(
        {
            NftTable(),
            NftSet("local-ports", "ports", Elements(frozenset(cluster.local_ports))),
            *(each for family in _FAMILIES for each in _sets(cluster, family, no_snat)),
            *_counters(cluster),
            *_policy_chains(cluster),
            *_chains(cluster),
            *_probed(probes),
        }
    )


def inside(cluster: Cluster) -> frozenset[Destination]:
    """Return the prefixes that are reached without translation."""
    return collapsed({*cluster.inside, *(p for each in cluster.subnets for p in each.prefixes)})


def counter(subnet: str, direction: str, family: int) -> str:
    """Return the name of the counter of a Subnet's packets in one direction."""
    return f"{direction}-{family}-{_short(subnet)}"


def _sets(cluster: Cluster, family: int, no_snat: Iterable[Destination]) -> Iterator[NftSet]:
    subnets = cluster.subnets
    contents: dict[str, Iterable[Destination]] = {
        "subnets": inside(cluster),
        "nat": _prefixes(each for each in subnets if each.outgoing),
        "distributed": _prefixes(each for each in subnets if each.distributed),
        "services": _hosts(cluster.services),
        "peers": _hosts(cluster.peers),
        "no-snat": no_snat,
    }
    kind: Kind = "ipv4" if family == 4 else "ipv6"
    for name, prefixes in contents.items():
        ours = (each for each in prefixes if each.version == family)
        yield NftSet(f"{name}{family}", kind, Elements(frozenset(collapsed(ours))))


def _prefixes(subnets: Iterable[GatewaySubnet]) -> list[Destination]:
    return [own for each in subnets for own in each.prefixes]


def _hosts(addresses: Iterable[object]) -> list[Destination]:
    return [prefix(str(each)) for each in addresses]


def _counters(cluster: Cluster) -> Iterator[NftCounter | NftSet]:
    """Yield two counters for each Subnet and family, and the maps that lead to them.

    Prefixes of Subnets that overlap would be counted twice, so of these only the first counts.
    """
    for family in _FAMILIES:
        by_prefix: dict[Destination, str] = {}
        for each in cluster.subnets:
            for own in each.of(family):
                if not any(own.overlaps(other) for other in by_prefix):
                    by_prefix[own] = each.name
        kind: Kind = "ipv4 counters" if family == 4 else "ipv6 counters"
        for direction in DIRECTIONS:
            names = {p: counter(name, direction, family) for p, name in by_prefix.items()}
            yield from map(NftCounter, sorted(set(names.values())))
            yield NftSet(f"{direction}{family}", kind, Elements(frozenset(names.items())))


def _policies(subnet: GatewaySubnet, family: int) -> list[tuple[int, NatPolicy]]:
    numbered = enumerate(subnet.policies, 1)
    found = ((number, policy.of(family)) for number, policy in numbered)
    return [(number, policy) for number, policy in found if policy is not None]


def _policy_chains(cluster: Cluster) -> Iterator[NftChain | NftSet]:
    """Yield a chain for each Subnet with policies: the first rule that matches decides."""
    for each in cluster.subnets:
        rules: list[Rule] = []
        for family in _FAMILIES:
            kind: Kind = "ipv4" if family == 4 else "ipv6"
            for number, policy in _policies(each, family):
                sides = (("saddr", policy.sources), ("daddr", policy.destinations))
                matches: list[InSet] = []
                for side, prefixes in sides:
                    if prefixes:
                        name = f"policy-{_short(each.name)}-{number}-{side}{family}"
                        yield NftSet(name, kind, Elements(collapsed(prefixes)))
                        matches.append(InSet("saddr" if side == "saddr" else "daddr", family, name))
                rules.append((*matches, _GOTO if policy.nat else Verdict("accept")))
        if rules:
            yield NftChain(_policy_chain(each.name), None, Rules(tuple(rules)))


def _policy_chain(subnet: str) -> str:
    return f"policy-{_short(subnet)}"


def _chains(cluster: Cluster) -> Iterator[NftChain]:
    unmarked: Rule = (Unmark(), Masquerade())
    yield NftChain(TRANSLATE, None, Rules((unmarked,)))
    nat = [rule for family in _FAMILIES for rule in _translations(cluster, family)]
    yield _called(POSTROUTING, Hook("nat", "postrouting", _BEFORE_SRCNAT), nat)
    drops = [rule for family in _FAMILIES for rule in _drops(cluster, family)]
    yield _called(DROPPED, Hook("filter", "postrouting", _MANGLE), drops)
    counts: list[Rule] = [
        (CountBy(side, family, f"{direction}{family}"),)
        for family in _FAMILIES
        for direction, side in DIRECTIONS.items()
    ]
    yield _called(COUNTED, Hook("filter", "forward", _FILTER), counts)
    tunnels: list[Rule] = [(Protocol(_UDP, number), Unmark()) for number in (_GENEVE, _VXLAN)]
    yield _called(TUNNELS, Hook("filter", "output", _FILTER), tunnels)


def _probed(probes: Iterable[Probe]) -> Iterator[NftChain]:
    """Yield the chain that leads probes of the node to the agent, if there are any."""
    rules: list[Rule] = [
        (InPrefix("daddr", prefix(str(address))), Protocol(_TCP, port), Redirect(PORT))
        for address, port in sorted(probes, key=str)
    ]
    if rules:
        yield _called(PROBED, Hook("nat", "output", _BEFORE_DSTNAT), rules)


def _called(name: str, hook: Hook, rules: list[Rule]) -> NftChain:
    return NftChain(name, hook, Rules(tuple(rules)))


def _translations(cluster: Cluster, family: int) -> Iterator[Rule]:
    """Yield the rules that decide the source of a packet that leaves the node, in order."""
    from_pods, to_pods = _from("subnets", family), _to("subnets", family)
    beyond = _to("subnets", family, absent=True)
    to_service = OriginalInSet(family, f"services{family}")
    for internal in sorted(each for each in cluster.internal if each.version == family)[:1]:
        # IPVS gives packets of the node itself the Service's address as their source.
        yield (_from("services", family), to_pods, Marked(KUBE_PROXY), SourceNat(internal))
    yield (from_pods, Marked(KUBE_PROXY), _GOTO)
    yield (to_pods, Marked(KUBE_PROXY), _GOTO)
    for own in sorted(each for each in cluster.own if each.version == family):
        yield (InPrefix("saddr", prefix(str(own))), _RETURN)
    # The reply of a Service's endpoint, and of a pod that was reached by a node's port, would go
    # straight to the pod, which waits for one from the Service.
    yield (from_pods, to_service, _GOTO)
    yield (from_pods, to_pods, _GOTO)
    yield from _local(family)
    yield (TcpFlag(SYN, absent=True), State(NEW), _RETURN)
    yield (_from("nat", family), _to("no-snat", family), _RETURN)
    for each in cluster.subnets:
        if _policies(each, family):
            jump = Verdict("jump", _policy_chain(each.name))
            yield from ((InPrefix("saddr", p), beyond, jump) for p in each.of(family))
    for each, address in _designated(cluster, family):
        yield from ((InPrefix("saddr", p), beyond, SourceNat(address)) for p in each.of(family))
    yield (_from("nat", family), beyond, _GOTO)


def _local(family: int) -> Iterator[Rule]:
    """Yield the rules for node ports with externalTrafficPolicy Local.

    The pod sees the client, unless its reply would not come back this way: OVN sends it straight to
    a client that is another node, and that of a centralized Subnet to the Subnet's gateway.
    """
    at_port = (
        OriginalPortInSet("local-ports"),
        OriginalInSet(family, f"subnets{family}", absent=True),
        OriginalInSet(family, f"services{family}", absent=True),
    )
    yield (_to("subnets", family), _from("peers", family), *at_port, _GOTO)
    yield (_to("distributed", family), *at_port, _RETURN)
    yield (_to("subnets", family), *at_port, _GOTO)


def _drops(cluster: Cluster, family: int) -> Iterator[Rule]:
    """Yield the rules that drop what a connection that is not tracked here must not send.

    A reset of such a pod's packet has the wrong source. A late packet of a centralized Subnet would
    make an entry without translation, which lasts as long as the connection.
    """
    yield (_from("subnets", family), TcpFlag(RST), State(INVALID), Verdict("drop"))
    beyond = _to("subnets", family, absent=True)
    for each, _ in _designated(cluster, family):
        late = (beyond, TcpFlag(SYN, absent=True), State(NEW), Verdict("drop"))
        yield from ((InPrefix("saddr", p), *late) for p in each.of(family))


def _designated(cluster: Cluster, family: int) -> list[tuple[GatewaySubnet, Ip]]:
    return [
        (each, next(ip for ip in each.designated if ip.version == family))
        for each in cluster.subnets
        if any(ip.version == family for ip in each.designated)
    ]


def _from(name: str, family: int) -> InSet:
    return InSet("saddr", family, f"{name}{family}")


def _to(name: str, family: int, *, absent: bool = False) -> InSet:
    return InSet("daddr", family, f"{name}{family}", absent)


def _short(name: str) -> str:
    """Return a name that leaves room for a prefix and a suffix."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 33]}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"
