"""The API objects that the controller works with, and the agent's own Node: kinds and readers.

A reader takes only the facts that a pass acts on. The agent reads its pods in `pods`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ovnlet.core.annotations import ENCAP_IP, runtime_uid
from ovnlet.core.ipam import definitions, pools
from ovnlet.core.ipam.claims import PROVIDER, NodeClaim, StatefulSet, Workload
from ovnlet.core.ipam.definitions import Definition
from ovnlet.core.ipam.machines import VirtualMachine
from ovnlet.core.ipam.networks import DEFAULT_NETWORK, NETWORKS
from ovnlet.core.ipam.pools import IpPool
from ovnlet.core.ipam.subnets import SubnetObject
from ovnlet.core.underlay.networks import is_label
from ovnlet.core.virtual_machines import MIGRATION
from ovnlet.kube.object_store import Kind

PODS = Kind("", "v1", "pods")
NODES = Kind("", "v1", "nodes")
SUBNETS = Kind("kubeovn.io", "v1", "subnets")
IP_POOLS = Kind("kubeovn.io", "v1", "ippools")
STATEFUL_SETS = Kind("apps", "v1", "statefulsets")
DEFINITIONS = Kind("k8s.cni.cncf.io", "v1", "network-attachment-definitions")
MACHINES = Kind("kubevirt.io", "v1", "virtualmachines")

Body = Mapping[str, Any]
UNAVAILABLE = "NetworkUnavailable"
_FINISHED = ("Succeeded", "Failed")
# The annotations of an allocation in any network, and requests for one interface of several.
_OF_NETWORKS = re.compile(
    r"[^/]+\.kubernetes\.io/(allocated|routed|ip_address|mac_address|cidr|gateway|logical_switch|"
    r"logical_router|pod_nic_type|vlan_id|provider_network|ip_pool|virtualmachine|(ip_address|mac_address)\.[^/]+)"
)


@dataclass(frozen=True, slots=True)
class OwnNode:
    """A Node; of another one than the agent's own only the name and the InternalIPs are kept.

    ``unavailable`` holds status and reason of the condition NetworkUnavailable; None if the Node
    does not have the condition. ``internal`` are its InternalIPs.
    """

    kind: ClassVar[str] = "Node"
    api_version: ClassVar[str] = "v1"
    namespace: ClassVar[str] = ""

    name: str
    object_uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    unavailable: tuple[str, str] | None = None
    internal: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[str, str]:
        """The key in a store: no namespace, and the name."""
        return ("", self.name)


def workload(body: Body) -> Workload | None:
    """Read a Pod; None for one on the host network."""
    spec, metadata = body.get("spec", {}), body["metadata"]
    if spec.get("hostNetwork"):
        return None
    return Workload(
        namespace=metadata["namespace"],
        name=metadata["name"],
        object_uid=metadata["uid"],
        node=spec.get("nodeName") or "",
        finished=body.get("status", {}).get("phase") in _FINISHED,
        workload=_stateful_set(metadata),
        runtime_uid=runtime_uid("", metadata.get("annotations") or {}),
        annotations=_annotations(metadata) | _of_networks(metadata),
        networks=(metadata.get("annotations") or {}).get(NETWORKS, ""),
        default_network=(metadata.get("annotations") or {}).get(DEFAULT_NETWORK, ""),
        machine=_machine(metadata),
        created=metadata.get("creationTimestamp") or "",
        target=bool((metadata.get("annotations") or {}).get(MIGRATION)),
    )


def definition(body: Body) -> Definition:
    """Read a NetworkAttachmentDefinition."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    return definitions.definition(
        metadata["namespace"], metadata["name"], metadata["uid"], str(spec.get("config") or "")
    )


def virtual_machine(body: Body) -> VirtualMachine:
    """Read a VirtualMachine of KubeVirt's: that it is there."""
    metadata = body["metadata"]
    return VirtualMachine(metadata["namespace"], metadata["name"], metadata["uid"])


def node(body: Body) -> NodeClaim:
    """Read a Node: its annotations, labels and internal addresses."""
    metadata = body["metadata"]
    name, uid, annotations = metadata["name"], metadata["uid"], _annotations(metadata)
    labels = metadata.get("labels") or {}
    return NodeClaim(name, uid, _internal(body), annotations, labels, _uplinks(metadata))


def own_node(body: Body) -> OwnNode:
    """Read the agent's own Node: annotations, addresses, the condition NetworkUnavailable."""
    metadata = body["metadata"]
    conditions = body.get("status", {}).get("conditions") or ()
    found = next((each for each in conditions if each.get("type") == UNAVAILABLE), None)
    unavailable = (found.get("status", ""), found.get("reason", "")) if found else None
    every: Mapping[str, str] = metadata.get("annotations") or {}
    tunnel = {ENCAP_IP: every[ENCAP_IP]} if ENCAP_IP in every else {}
    name, uid, labels = metadata["name"], metadata["uid"], metadata.get("labels") or {}
    annotations = _annotations(metadata) | tunnel | _uplinks(metadata)
    return OwnNode(name, uid, annotations, unavailable, _internal(body), labels)


def other_node(body: Body) -> OwnNode:
    """Read another Node: its addresses."""
    metadata = body["metadata"]
    return OwnNode(metadata["name"], metadata["uid"], internal=_internal(body))


def _internal(body: Body) -> tuple[str, ...]:
    addresses = body.get("status", {}).get("addresses") or ()
    return tuple(sorted(a["address"] for a in addresses if a.get("type") == "InternalIP"))


def subnet(body: Body) -> SubnetObject:
    """Read a Subnet of Kube-OVN's API. Its spec is not validated here."""
    metadata = body["metadata"]
    return SubnetObject(
        name=metadata["name"],
        object_uid=metadata["uid"],
        version=metadata.get("resourceVersion") or "",
        created=metadata.get("creationTimestamp") or "",
        generation=int(metadata.get("generation") or 0),
        deleting="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=body.get("spec") or {},
        status=body.get("status") or {},
    )


def ip_pool(body: Body) -> IpPool:
    """Read an IPPool of Kube-OVN's API."""
    metadata = body["metadata"]
    spec, status = body.get("spec") or {}, body.get("status") or {}
    return pools.read(metadata["name"], metadata["uid"], spec, status)


def stateful_set(body: Body) -> StatefulSet:
    """Read a StatefulSet. One that is being deleted counts as having no replicas."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    replicas = 0 if "deletionTimestamp" in metadata else int(spec.get("replicas", 1))
    first = int((spec.get("ordinals") or {}).get("start", 0))
    return StatefulSet(metadata["namespace"], metadata["name"], metadata["uid"], first, replicas)


def _stateful_set(metadata: Body) -> str:
    """Return the name of the StatefulSet that controls a pod; empty if none does."""
    owners = metadata.get("ownerReferences") or ()
    return next(
        (
            each["name"]
            for each in owners
            if each.get("kind") == "StatefulSet" and each.get("controller")
        ),
        "",
    )


def _machine(metadata: Body) -> str:
    """Return the virtual machine whose pod it is, by the reference that KubeVirt sets; or ""."""
    owners = metadata.get("ownerReferences") or ()
    return next(
        (
            each["name"]
            for each in owners
            if each.get("kind") == "VirtualMachineInstance"
            and str(each.get("apiVersion")).startswith("kubevirt.io/")
        ),
        "",
    )


def _annotations(metadata: Body) -> dict[str, str]:
    """Return the annotations of the controller's provider only."""
    every: Mapping[str, str] = metadata.get("annotations") or {}
    return {
        name: value
        for name, value in every.items()
        if name.startswith(f"{PROVIDER}.kubernetes.io/")
    }


def _uplinks(metadata: Body) -> dict[str, str]:
    """Return the annotations of provider networks."""
    every: Mapping[str, str] = metadata.get("annotations") or {}
    return {name: value for name, value in every.items() if is_label(name)}


def _of_networks(metadata: Body) -> dict[str, str]:
    """Return the annotations of allocations in a pod's further networks."""
    every: Mapping[str, str] = metadata.get("annotations") or {}
    return {name: value for name, value in every.items() if _OF_NETWORKS.fullmatch(name)}
