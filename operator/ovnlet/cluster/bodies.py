"""Objects of the API server as the controller keeps them: the few facts it acts on."""

from collections.abc import Mapping
from typing import Any

from ovnlet.cluster.feeds import Kind
from ovnlet.core.annotations import runtime_uid
from ovnlet.core.claims import PROVIDER, NodeClaim, StatefulSet, Workload
from ovnlet.core.subnets import SubnetObject

PODS = Kind("", "v1", "pods")
NODES = Kind("", "v1", "nodes")
SUBNETS = Kind("kubeovn.io", "v1", "subnets")
STATEFUL_SETS = Kind("apps", "v1", "statefulsets")

Body = Mapping[str, Any]
_ENDED = ("Succeeded", "Failed")


def workload(body: Body) -> Workload | None:
    """None for a pod that has the node's own network."""
    spec, metadata = body.get("spec", {}), body["metadata"]
    if spec.get("hostNetwork"):
        return None
    return Workload(
        namespace=metadata["namespace"],
        name=metadata["name"],
        object_uid=metadata["uid"],
        node=spec.get("nodeName") or "",
        finished=body.get("status", {}).get("phase") in _ENDED,
        workload=_stateful_set(metadata),
        runtime_uid=runtime_uid("", metadata.get("annotations") or {}),
        annotations=_annotations(metadata),
    )


def node(body: Body) -> NodeClaim:
    metadata = body["metadata"]
    addresses = body.get("status", {}).get("addresses") or ()
    internal = tuple(sorted(a["address"] for a in addresses if a.get("type") == "InternalIP"))
    return NodeClaim(metadata["name"], metadata["uid"], internal, _annotations(metadata))


def subnet(body: Body) -> SubnetObject:
    metadata = body["metadata"]
    return SubnetObject(
        name=metadata["name"],
        object_uid=metadata["uid"],
        made=metadata.get("creationTimestamp") or "",
        generation=int(metadata.get("generation") or 0),
        deleting="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
        spec=body.get("spec") or {},
        status=body.get("status") or {},
    )


def stateful_set(body: Body) -> StatefulSet:
    metadata, spec = body["metadata"], body.get("spec") or {}
    replicas = 0 if "deletionTimestamp" in metadata else int(spec.get("replicas", 1))
    first = int((spec.get("ordinals") or {}).get("start", 0))
    return StatefulSet(metadata["namespace"], metadata["name"], metadata["uid"], first, replicas)


def _stateful_set(metadata: Body) -> str:
    owners = metadata.get("ownerReferences") or ()
    return next((each["name"] for each in owners if each.get("kind") == "StatefulSet" and each.get("controller")), "")


def _annotations(metadata: Body) -> dict[str, str]:
    every: Mapping[str, str] = metadata.get("annotations") or {}
    return {name: value for name, value in every.items() if name.startswith(f"{PROVIDER}.kubernetes.io/")}
