"""kubelet's probes of pods that the node does not reach, because another router connects them.

A pod of a VPC of its own has no way to the node. Its probes are led to the agent, which connects
inside the pod's namespace.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ovnlet.core.allocation import Address as Ip
from ovnlet.core.annotations import key
from ovnlet.core.identity import Pod, Record
from ovnlet.core.values import host, split

# kube-ovn-cni's port for this.
PORT = 8102
_KINDS = ("livenessProbe", "readinessProbe", "startupProbe")


class Probe(NamedTuple):
    """An address of a pod, and a port that kubelet probes there."""

    address: Ip
    port: int


def ports(spec: Mapping[str, Any]) -> frozenset[int]:
    """Return the TCP ports at the pod's own addresses that a pod's containers are probed at."""
    containers = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    return frozenset(port for each in containers for port in _ports(each))


def _ports(container: Mapping[str, Any]) -> Iterator[int]:
    named = {each.get("name"): each.get("containerPort") for each in container.get("ports", ())}
    for kind in _KINDS:
        probe = container.get(kind) or {}
        for how in ("httpGet", "tcpSocket", "grpc"):
            where = probe.get(how) or {}
            found = where.get("port")
            number = named.get(found) if isinstance(found, str) else found
            if isinstance(number, int) and not where.get("host"):
                yield number


def probed(attached: Iterable[tuple[Pod, Record]], router: str) -> dict[Probe, str]:
    """Return the probes of pods that a router other than ``router`` connects, with their netns.

    Of two pods with the same address the first has it: their VPCs may overlap.
    """
    found: dict[Probe, str] = {}
    for pod, record in attached:
        good = record.good or {}
        its_own = pod.annotations.get(key("ovn", "logical_router"), router)
        if record.attachment.provider != "ovn" or its_own in ("", router):
            continue
        for text in split(good.get(key("ovn", "ip_address"), "")):
            for port in pod.probes:
                found.setdefault(Probe(host(text), port), record.attachment.netns)
    return found
