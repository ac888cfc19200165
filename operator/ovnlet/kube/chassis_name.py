"""The Node's annotation that names its chassis, as kube-ovn-cni writes it.

Kube-OVN's controller marks the chassis that a Node names as its own, and deletes one of its own that no Node names: the
node would lose all its tunnels. Ours (`control`) has no use for it.
"""

from typing import Any

from ovnlet.core.annotations import CHASSIS
from ovnlet.kube.node_patcher import NodePatcher
from ovnlet.kube.objects import OwnNode


class ChassisName(NodePatcher[str]):
    """The system-id of Open vSwitch."""

    def read(self, node: OwnNode) -> str | None:
        return node.annotations.get(CHASSIS)

    def body(self, wanted: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {CHASSIS: wanted}}}
