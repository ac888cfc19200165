"""Services and EndpointSlices: kinds and readers."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from ovnlet.core.allocation import Address
from ovnlet.core.services import (
    PROTOCOLS,
    Endpoint,
    EndpointSlice,
    NamedPort,
    ServiceObject,
)
from ovnlet.kube.object_store import Kind

SERVICES = Kind("", "v1", "services")
# Kubernetes 1.21 has both versions, 1.20 only the older one and 1.25 only the newer one. What is
# read here is the same in both.
SLICES = Kind("discovery.k8s.io", "v1", "endpointslices")
OLDER_SLICES = Kind("discovery.k8s.io", "v1beta1", "endpointslices")

_NO_ADDRESS = ("", "None")
_OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
_SERVICE = "kubernetes.io/service-name"
_MODES = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
_DEFAULT_AFFINITY = 10_800  # seconds, the API's default

Body = Mapping[str, Any]


def service(body: Body) -> ServiceObject | None:
    """Read a Service; None for one that no load balancer is for.

    That is a headless one, one of type ExternalName, and one that names another proxy.
    """
    metadata, spec = body["metadata"], body.get("spec") or {}
    texts = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    other = _OTHER_PROXY in (metadata.get("labels") or {})
    if other or spec.get("type") == "ExternalName" or texts[0] in _NO_ADDRESS:
        return None
    return ServiceObject(
        namespace=metadata["namespace"],
        name=metadata["name"],
        object_uid=metadata["uid"],
        addresses=tuple(_addresses(texts)),
        ports=_ports(spec.get("ports") or ()),
        affinity=_affinity(spec),
        local=spec.get("internalTrafficPolicy") == "Local",
        near=_is_near(metadata, spec),
        exposed=spec.get("externalTrafficPolicy") == "Local",
        external=tuple(_external(spec, body.get("status") or {})),
    )


def endpoint_slice(body: Body) -> EndpointSlice | None:
    """Read an EndpointSlice; None for one that belongs to no Service."""
    metadata = body["metadata"]
    name = (metadata.get("labels") or {}).get(_SERVICE)
    if not name:
        return None
    endpoints = body.get("endpoints") or ()
    return EndpointSlice(
        namespace=metadata["namespace"],
        name=metadata["name"],
        object_uid=metadata["uid"],
        service=name,
        ports=_ports(body.get("ports") or ()),
        endpoints=tuple(found for each in endpoints if (found := _endpoint(each))),
        hinted=any((each.get("hints") or {}).get("forZones") for each in endpoints),
    )


def _endpoint(body: Body) -> Endpoint | None:
    """Read an endpoint; None for one with a host name instead of an address.

    All addresses of an endpoint are equivalent, and only the first is used. A condition that is
    missing is as the API defines: an unknown ``ready`` means ready.
    """
    conditions = body.get("conditions") or {}
    address = next(_addresses(body["addresses"][:1]), None)
    if address is None:
        return None
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    return Endpoint(
        address,
        ready=ready,
        serving=ready if serving is None else bool(serving),
        terminating=bool(conditions.get("terminating")),
    )


def _ports(bodies: Iterable[Body]) -> tuple[NamedPort, ...]:
    """Read the ports of a Service or a slice. One without a number, or of no protocol, is none."""
    ports = (
        NamedPort(
            each.get("name") or "",
            (each.get("protocol") or "TCP").lower(),
            each.get("port") or 0,
            each.get("nodePort") or 0,
        )
        for each in bodies
    )
    return tuple(port for port in ports if port.number and port.protocol in PROTOCOLS)


def _addresses(texts: Iterable[str]) -> Iterator[Address]:
    """Yield the texts that are addresses. Old API servers accepted others, such as 010.0.0.1."""
    for text in texts:
        try:
            yield ip_address(text)
        except ValueError:
            continue


def _external(spec: Body, status: Body) -> Iterator[Address]:
    """Yield the external addresses, and those of a load balancer that passes packets on unchanged.

    kube-proxy enforces ``loadBalancerSourceRanges``, so it keeps the addresses that have some.
    """
    yield from _addresses(spec.get("externalIPs") or ())
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    if not spec.get("loadBalancerSourceRanges"):
        yield from _addresses(
            each["ip"] for each in ingress if each.get("ip") and each.get("ipMode") != "Proxy"
        )


def _affinity(spec: Body) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or _DEFAULT_AFFINITY)


def _is_near(metadata: Body, spec: Body) -> bool:
    """Return whether the Service asks for near endpoints by a field or by an annotation."""
    annotations = metadata.get("annotations") or {}
    return bool(spec.get("trafficDistribution")) or any(
        annotations.get(name, "").lower() == "auto" for name in _MODES
    )
