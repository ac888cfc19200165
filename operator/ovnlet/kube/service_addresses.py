"""What a node needs to know of Services: their addresses, and ports that keep the client's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """The cluster addresses of a Service, and its node ports with externalTrafficPolicy Local.

    A port is a text such as `TCP/30080`.
    """

    namespace: str
    name: str
    object_uid: str
    addresses: tuple[str, ...]
    local_ports: tuple[str, ...]

    @property
    def owner(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.namespace, self.name)


def service_addresses(body: Mapping[str, Any]) -> ServiceAddresses | None:
    """Read a Service; None for one that has no address."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    listed = spec.get("clusterIPs") or [spec.get("clusterIP")]
    addresses = tuple(each for each in listed if each and each != "None")
    if not addresses:
        return None
    ports = tuple(_local_ports(spec))
    return ServiceAddresses(
        metadata["namespace"], metadata["name"], metadata["uid"], addresses, ports
    )


def _local_ports(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("type") in _WITH_NODE_PORTS and spec.get("externalTrafficPolicy") == "Local":
        for each in spec.get("ports") or ():
            if number := each.get("nodePort"):
                yield f"{each.get('protocol') or 'TCP'}/{number}"
