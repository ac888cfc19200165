"""Kube-OVN's ProviderNetworks and Vlans, and the Node's labels that say what was done of them."""

from typing import Any

from ovnlet.core.underlay.networks import is_label
from ovnlet.kube.node_patcher import NodePatcher
from ovnlet.kube.object_store import Kind
from ovnlet.kube.objects import OwnNode

PROVIDER_NETWORKS = Kind("kubeovn.io", "v1", "provider-networks")
VLANS = Kind("kubeovn.io", "v1", "vlans")
# What this agent writes. `vlan_interfaces` is another's: what it names is not done here.
_OURS = ("ready", "interface", "mtu", "exclude")
Labels = frozenset[tuple[str, str]]


class ProviderLabels(NodePatcher[Labels]):
    """Keeps the labels of provider networks on the Node; those that are not wanted are removed."""

    def read(self, node: OwnNode) -> Labels:
        """Return the labels that the Node has."""
        return frozenset(
            (name, value)
            for name, value in node.labels.items()
            if is_label(name) and name.rpartition("/")[2] in _OURS
        )

    def body(self, wanted: Labels) -> dict[str, Any]:
        """Return the patch that sets the wanted labels, and removes the others."""
        stale = {name: None for name, _ in self._observed or ()}
        return {"metadata": {"labels": {**stale, **dict(sorted(wanted))}}}
