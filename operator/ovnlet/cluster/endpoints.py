"""Sender and receiver of a traced packet: pods, Services and plain addresses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import click

from ovnlet.cluster.access import Access, Missing
from ovnlet.cluster.pods import named, node_of
from ovnlet.cluster.stages import Stage
from ovnlet.core.errors import NotReady

_MAC = "ovn.kubernetes.io/mac_address"


@dataclass(frozen=True, slots=True)
class Target:
    """One end. ``pod`` is whether it is a pod of the cluster; ``name`` is NAMESPACE/POD then.

    ``stages`` are what a Service says of it. Without an ``address`` the packet goes nowhere.
    """

    name: str
    address: str
    port: int = 0
    node: str = ""
    mac: str = ""
    pod: bool = False
    stages: tuple[Stage, ...] = field(default=())

    @property
    def version(self) -> int:
        """The version of IP of the address."""
        return ip_address(self.address).version


def of_pod(access: Access, name: str, version: int = 0, port: int = 0) -> Target:
    """Return a pod as an end, by its first address of a version. Raise NotReady without one."""
    name = named(access, name)
    node = node_of(access, name)
    namespace, _, pod = name.partition("/")
    found = access.read("CoreV1Api", "read_namespaced_pod", pod, namespace)
    addresses = [str(one["ip"]) for one in found["status"].get("podIPs") or []]
    fitting = [one for one in addresses if version in (0, ip_address(one).version)]
    if not fitting:
        raise NotReady(f"{name} has no address of that version of IP yet")
    mac = (found["metadata"].get("annotations") or {}).get(_MAC, "")
    return Target(name, fitting[0], port, node, mac, pod=True)


def target(access: Access, text: str, protocol: str, version: int) -> Target:
    """Return the receiver that a text names. Raise UsageError for a text that names none."""
    host, port = _split(text)
    if _is_address(host):
        return _address(access, host, port)
    namespace, slash, name = host.partition("/")
    if not slash:
        raise click.UsageError(f"{text!r} is neither an address nor NAMESPACE/NAME")
    try:
        return of_pod(access, host, version, port)
    except NotReady as error:
        service = _service(access, namespace, name)
        if service is None:
            raise NotReady(f"{error}, and no Service of that name") from error
    return _backend(access, service, port, protocol, version)


def _split(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif _is_address(text):
        return text, 0
    else:
        host, _, port = text.partition(":")
    if port and not port.isdigit():
        raise click.UsageError(f"{port!r} is no port")
    return host, int(port or 0)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _address(access: Access, address: str, port: int) -> Target:
    """Return an address as an end: the pod that has it, if one has."""
    for pod in access.pods():
        addresses = [one["ip"] for one in pod["status"].get("podIPs") or []]
        if address in addresses and not pod["spec"].get("hostNetwork"):
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            return of_pod(access, name, ip_address(address).version, port)
    return Target(address, address, port)


def _service(access: Access, namespace: str, name: str) -> dict[str, Any] | None:
    try:
        found = access.read("CoreV1Api", "read_namespaced_service", name, namespace)
    except Missing:
        return None
    return dict(found)


def _backend(
    access: Access, service: dict[str, Any], port: int, protocol: str, version: int
) -> Target:
    """Return the pod that a Service sends to first, with what the Service says."""
    meta = service["metadata"]
    name = f"{meta['namespace']}/{meta['name']}"
    ports = [
        one
        for one in service["spec"].get("ports") or []
        if one["protocol"].lower() == protocol and port in (0, one["port"])
    ]
    if not ports:
        what = f"Service {name} has no {protocol} port {port or ''}".rstrip()
        return _nowhere(name, what, "correct the port, or the Service's spec.ports")
    try:
        found = access.read(
            "CoreV1Api", "read_namespaced_endpoints", meta["name"], meta["namespace"]
        )
    except Missing:
        found = {}
    for pod, number in _ready(found, ports[0].get("name")):
        end = of_pod(access, pod, version, number)
        stage = Stage.ok("Service", f"{name} sends to {pod} port {number}, among others")
        return Target(end.name, end.address, end.port, end.node, end.mac, True, (stage,))
    what = f"Service {name} has no ready endpoint"
    return _nowhere(name, what, "are its pods Ready, and does its selector match their labels?")


def _nowhere(name: str, what: str, fix: str) -> Target:
    return Target(name, "", stages=(Stage.fault("Service", what, fix),))


def _ready(endpoints: dict[str, Any], port: str | None) -> Iterator[tuple[str, int]]:
    """Yield the pods that are ready, each with the number of a named port."""
    for subset in endpoints.get("subsets") or []:
        numbers = [one["port"] for one in subset.get("ports") or [] if one.get("name") == port]
        for address in subset.get("addresses") or []:
            reference = address.get("targetRef") or {}
            if numbers and reference.get("kind") == "Pod":
                yield f"{reference['namespace']}/{reference['name']}", int(numbers[0])
