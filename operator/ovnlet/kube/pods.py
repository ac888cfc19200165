"""Of this node's pods what the agent needs."""

from collections.abc import Mapping
from typing import Any

from ovnlet.core import annotations
from ovnlet.core.identity import Pod
from ovnlet.core.reader import bounded
from ovnlet.kube.object_store import Kind

DOMAINS = ("kubernetes.io", "ovnlet.io")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole manifest once more


def of_node(node: str) -> Kind:
    return Kind("", "v1", "pods", f"spec.nodeName={node}")


def read(body: Mapping[str, Any]) -> Pod | None:
    """None for a pod that has the node's own network."""
    if body.get("spec", {}).get("hostNetwork"):
        return None
    metadata = body["metadata"]
    uid: str = metadata["uid"]
    every: Mapping[str, str] = metadata.get("annotations") or {}
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=annotations.runtime_uid(uid, every),
        annotations={key: bounded(value) for key, value in every.items() if _needed(key)},
        object_uid=uid,
    )


def _needed(key: str) -> bool:
    domain = key.partition("/")[0]
    return key != _APPLIED and any(
        domain == ours or domain.endswith(f".{ours}") for ours in DOMAINS
    )
