"""The pods of this node, as the agent reads them: identity and the annotations of these domains."""

from collections.abc import Mapping
from typing import Any

from ovnlet.core import annotations, probes
from ovnlet.core.identity import Pod
from ovnlet.core.reader import bounded
from ovnlet.kube.object_store import Kind

DOMAINS = ("kubernetes.io", "ovnlet.io", "kubevirt.io")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # a copy of the whole manifest


def of_node(node: str) -> Kind:
    """Return the kind of all pods that are scheduled to ``node``."""
    return Kind("", "v1", "pods", f"spec.nodeName={node}")


def read(body: Mapping[str, Any]) -> Pod | None:
    """Read a Pod; None for one on the host network.

    Of an annotation value that is too long to be valid, only enough is kept to see that it is
    invalid.
    """
    if body.get("spec", {}).get("hostNetwork"):
        return None
    metadata = body["metadata"]
    uid: str = metadata["uid"]
    every: Mapping[str, str] = metadata.get("annotations") or {}
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=annotations.runtime_uid(uid, every),
        annotations={key: bounded(value) for key, value in every.items() if _is_needed(key)},
        object_uid=uid,
        deleting="deletionTimestamp" in metadata,
        probes=probes.ports(body.get("spec", {})),
    )


def _is_needed(key: str) -> bool:
    """Return whether an annotation is in one of the domains or below it."""
    domain = key.partition("/")[0]
    return key != _APPLIED and any(
        domain == ours or domain.endswith(f".{ours}") for ours in DOMAINS
    )
