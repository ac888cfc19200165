"""Pods as the API server tells of them, put into ``State`` so that news never gives way to older news.

The watch and our own LIST race each other. Whoever tells of a pod tells its resource version too, and
the newest one of that namespace and name wins, a deletion included.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ovnlet.cluster.feeds import Kind
from ovnlet.core import annotations
from ovnlet.core.attachment import Pod
from ovnlet.reconcile.state import Owner, State

DOMAINS = ("kubernetes.io", "ovnlet.io")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole manifest once more


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod and the resource version at which it was so."""

    pod: Pod
    version: int


def read(body: Mapping[str, Any]) -> Seen | None:
    """Keep of a pod object what the agent needs. None for a pod that has the node's own network."""
    if body.get("spec", {}).get("hostNetwork"):
        return None
    metadata = body["metadata"]
    uid: str = metadata["uid"]
    every: Mapping[str, str] = metadata.get("annotations") or {}
    pod = Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=annotations.runtime_uid(uid, every),
        annotations={key: value for key, value in every.items() if _needed(key)},
        object_uid=uid,
    )
    return Seen(pod, int(metadata["resourceVersion"]))


def _needed(key: str) -> bool:
    domain = key.partition("/")[0]
    return key != _APPLIED and any(domain == ours or domain.endswith(f".{ours}") for ours in DOMAINS)


class Pods:
    """Feeds ``state``. Remembers of each pod, also of one deleted since the last list, its newest version."""

    def __init__(self, state: State, node: str = "") -> None:
        self.kind = Kind("", "v1", "pods", f"spec.nodeName={node}" if node else "")
        self._state = state
        self._newest: dict[Owner, int] = {}
        self._listed = 0

    def read(self, body: Mapping[str, Any]) -> Seen | None:
        return read(body)

    def seen(self, seen: Seen) -> None:
        if self._is_news(seen):
            self._state.put(seen.pod)

    def gone(self, seen: Seen) -> None:
        if self._is_news(seen):
            self._state.gone(seen.pod.owner, seen.pod.object_uid)

    def listed(self, listed: Iterable[Seen], version: int) -> bool:
        """Take a complete list that was made at ``version``: what it lacks is gone, unless it is newer.

        False tells that versions run anew: the cluster was restored from a backup, nothing known holds.
        """
        if restored := version < self._listed:
            self._newest.clear()
        self._listed = version
        pods = {seen.pod.owner: seen.pod for seen in listed if self._is_news(seen)}
        newer = {owner for owner, newest in self._newest.items() if newest > version}
        kept = [pod for pod in self._state if pod.owner in newer]
        self._newest = {owner: self._newest[owner] for owner in pods.keys() | newer}
        self._state.replace([*pods.values(), *kept])
        return not restored

    def _is_news(self, seen: Seen) -> bool:
        if seen.version < self._newest.get(seen.pod.owner, 0):
            return False
        self._newest[seen.pod.owner] = seen.version
        return True
