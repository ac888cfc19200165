"""From Services and EndpointSlices to OVN's load balancers.

A Service gets one load balancer for each of its protocols. OVN translates a request on the switch
of the pod that sends it, and the answer on the same switch. Which endpoints count is as kube-proxy
has it, except for what depends on the node of the client (`notices`).

kube-proxy answers at node ports and external addresses, also a pod. For a Service whose
`externalTrafficPolicy` is Local it keeps a pod's address, and the endpoint's answer then goes
straight to the pod, which does not expect it. So OVN translates those addresses as well.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ovnlet.core.allocation import Address
from ovnlet.core.resources.northbound import MARK, LoadBalancer, Rows

# OVN learns a flow for each client with affinity. OpenFlow keeps the idle time-out of a flow, in
# seconds, in 16 bits.
MAX_AFFINITY = 65_535
PROTOCOLS = ("tcp", "udp", "sctp")

Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A port of a Service or of its endpoints. The name joins the two; ``protocol`` is as OVN's.

    ``node_port`` is the port of a Service on each node's own addresses, 0 without.
    """

    name: str
    protocol: str
    number: int
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """What the controller keeps of a Service with addresses of its own.

    ``affinity`` is the time-out of session affinity by client address in seconds, 0 without.
    ``local`` is whether `internalTrafficPolicy` is Local. ``near`` is whether the Service asks for
    endpoints near to the client. ``external`` are its addresses outside of the cluster and
    ``exposed`` is whether OVN translates them and the node ports.
    """

    kind: ClassVar[str] = "Service"
    api_version: ClassVar[str] = "v1"

    namespace: str
    name: str
    object_uid: str
    addresses: tuple[Address, ...]
    ports: tuple[NamedPort, ...]
    affinity: int = 0
    local: bool = False
    near: bool = False
    exposed: bool = False
    external: tuple[Address, ...] = ()

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint with its conditions. A terminating one may still be serving."""

    address: Address
    ready: bool = True
    serving: bool = True
    terminating: bool = False


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Some endpoints of a Service. All of them have all of the ports.

    ``hinted`` is whether it says which zones should use which endpoint.
    """

    namespace: str
    name: str
    object_uid: str
    service: str
    ports: tuple[NamedPort, ...]
    endpoints: tuple[Endpoint, ...]
    hinted: bool = False

    @property
    def owner(self) -> Owner:
        """Namespace and name."""
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a Service does not get of what it asks for, as the parts of an Event."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def name_of(owner: Owner, protocol: str) -> str:
    """Return the name of a Service's load balancer for a protocol."""
    return "/".join((MARK, *owner, protocol))


def balancers(
    service: ServiceObject, slices: Iterable[EndpointSlice], nodes: Iterable[Address] = ()
) -> Rows:
    """Return the load balancers of a Service. ``nodes`` are the addresses of all nodes.

    A virtual address without endpoints refuses at once, as ``reject`` has it: a TCP reset, an SCTP
    abort or an ICMP error.
    """
    known = tuple(slices)
    vips: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for port, address, number in _virtual(service, tuple(nodes)):
        found = _backends(port, address.version, known)
        vips[port.protocol][_socket(address, number)] = ",".join(found)
    labels = frozenset({(MARK, "service"), ("ovnlet-service", "/".join(service.owner))})
    return frozenset(
        LoadBalancer(
            name_of(service.owner, protocol),
            protocol,
            frozenset(each.items()),
            frozenset(_options(service, protocol).items()),
            labels,
        )
        for protocol, each in vips.items()
    )


def notices(service: ServiceObject, slices: Iterable[EndpointSlice]) -> Iterator[Notice]:
    """Yield what OVN's load balancers cannot do of what the Service asks for."""
    if service.affinity > MAX_AFFINITY:
        yield Notice(
            "Warning",
            "SessionAffinityCapped",
            f"session affinity ends {MAX_AFFINITY} s after a client's last packet, "
            f"not {service.affinity} s: OVN keeps no longer time",
        )
    if service.local:
        yield Notice(
            "Warning",
            "TrafficPolicyNotApplied",
            "internalTrafficPolicy is Local, but pods use the endpoints of all nodes: "
            "OVN's load balancers are the same on each node",
        )
    if service.near or any(each.hinted for each in slices):
        yield Notice(
            "Normal",
            "TopologyNotApplied",
            "pods use the endpoints of all zones, not only near ones: "
            "OVN's load balancers are the same on each node",
        )


def _virtual(
    service: ServiceObject, nodes: Iterable[Address]
) -> Iterator[tuple[NamedPort, Address, int]]:
    """Yield each port with the addresses and the number at which OVN answers.

    The families are those of the Service's own addresses.
    """
    families = {address.version for address in service.addresses}
    external = service.external if service.exposed else ()
    for port in service.ports:
        for address in (*service.addresses, *external):
            if address.version in families:
                yield port, address, port.number
        for node in nodes if service.exposed and port.node_port else ():
            if node.version in families:
                yield port, node, port.node_port


def _options(service: ServiceObject, protocol: str) -> Mapping[str, str]:
    options = {"reject": "true"}
    if service.affinity:
        options["affinity_timeout"] = str(min(service.affinity, MAX_AFFINITY))
    if protocol == "udp":
        # A client that always sends from one port would stay with an endpoint that is gone.
        options["ct_flush"] = "true"
    return options


def _backends(port: NamedPort, family: int, slices: Iterable[EndpointSlice]) -> list[str]:
    """Return the endpoints that requests to a port go to, each with its own port, sorted.

    If no endpoint is ready, those that terminate and still serve are used, so that requests succeed
    until the next endpoint is ready.
    """
    found = [
        (endpoint, their.number)
        for each in slices
        for their in each.ports
        if (their.name, their.protocol) == (port.name, port.protocol)
        for endpoint in each.endpoints
        if endpoint.address.version == family
    ]
    used = [each for each in found if each[0].ready] or [
        each for each in found if each[0].serving and each[0].terminating
    ]
    pairs = {(int(endpoint.address), number): endpoint.address for endpoint, number in used}
    return [_socket(pairs[key], key[1]) for key in sorted(pairs)]


def _socket(address: Address, port: int) -> str:
    """Return an address with a port as OVN writes it: an IPv6 address is in brackets."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
