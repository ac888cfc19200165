"""Kube-OVN's ProviderNetworks and Vlans, and the Node's labels that say what was done of them."""

from typing import Any

from ovnlet.core.underlay.networks import ERROR, EXCLUDE, INTERFACE, MTU, READY, is_label
from ovnlet.kube.node_patcher import NodePatcher
from ovnlet.kube.object_store import Kind
from ovnlet.kube.objects import OwnNode

PROVIDER_NETWORKS = Kind("kubeovn.io", "v1", "provider-networks")
VLANS = Kind("kubeovn.io", "v1", "vlans")
# What this agent writes. `vlan_interfaces` is another's: what it names is not done here.
_OURS = (READY, INTERFACE, MTU, EXCLUDE)
# Keys with values. A reason is an annotation, because a label cannot hold a sentence.
Labels = frozenset[tuple[str, str]]


class ProviderLabels(NodePatcher[Labels]):
    """Keeps what the Node says of provider networks; what is not wanted is removed."""

    def read(self, node: OwnNode) -> Labels:
        """Return the labels and annotations that the Node has."""
        found = [pair for pair in node.labels.items() if _is(pair[0], *_OURS)]
        found += [pair for pair in node.annotations.items() if _is(pair[0], ERROR)]
        return frozenset(found)

    def body(self, wanted: Labels) -> dict[str, Any]:
        """Return the patch that sets what is wanted, and removes the rest."""
        stale: dict[str, str | None] = {name: None for name, _ in self._observed or ()}
        every = {**stale, **dict(sorted(wanted))}
        notes = {name: value for name, value in every.items() if _is(name, ERROR)}
        labels = {name: value for name, value in every.items() if name not in notes}
        return {"metadata": {"labels": labels, "annotations": notes}}


def _is(name: str, *short: str) -> bool:
    return is_label(name) and name.rpartition("/")[2] in short
