"""Sender and receiver of a traced packet: pods, their interfaces, Services, plain addresses."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import click

from ovnlet.cluster.access import Access, Missing
from ovnlet.cluster.pods import node_of
from ovnlet.cluster.stages import Stage
from ovnlet.core.errors import NotReady

_MAC = "ovn.kubernetes.io/mac_address"
# What a meta-plugin reports of each interface (multi-network specification, section 5).
_STATUS = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, slots=True)
class Target:
    """One end. ``pod`` is whether it is a pod of the cluster; ``name`` is NAMESPACE/POD then, with
    the interface behind another slash if it is a further one.

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
    """Return a pod, or a further interface of it, as an end, by its first address of a version.

    Raise NotReady without one.
    """
    namespace, pod, ifname = _parts(access, name)
    node = node_of(access, f"{namespace}/{pod}")
    found = access.read("CoreV1Api", "read_namespaced_pod", pod, namespace)
    notes = found["metadata"].get("annotations") or {}
    if ifname:
        addresses, mac = _of_interface(notes, ifname)
    else:
        addresses = [str(one["ip"]) for one in found["status"].get("podIPs") or []]
        mac = str(notes.get(_MAC, ""))
    fitting = [one for one in addresses if version in (0, ip_address(one).version)]
    if not fitting:
        raise NotReady(f"{name} has no address of that version of IP yet")
    shown = "/".join(filter(None, (namespace, pod, ifname)))
    return Target(shown, fitting[0], port, node, mac, pod=True)


def _parts(access: Access, name: str) -> tuple[str, str, str]:
    """Return namespace, pod and interface of `[NAMESPACE/]POD` or `NAMESPACE/POD/INTERFACE`."""
    match name.split("/"):
        case [pod]:
            return access.here, pod, ""
        case [namespace, pod]:
            return namespace or access.here, pod, ""
        case [namespace, pod, ifname]:
            return namespace, pod, "" if ifname == "eth0" else ifname
        case _:
            raise click.UsageError(f"{name!r} is not NAMESPACE/POD/INTERFACE")


def _of_interface(notes: dict[str, str], ifname: str) -> tuple[list[str], str]:
    """Return the addresses and the MAC that a pod's status reports of an interface."""
    try:
        listed = json.loads(notes.get(_STATUS) or "[]")
        (one,) = (each for each in listed if each.get("interface") == ifname)
        return [str(ip_address(each)) for each in one.get("ips") or []], str(one.get("mac", ""))
    except (ValueError, TypeError, AttributeError):
        return [], ""


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
        service = None if "/" in name else _service(access, namespace, name)
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
