"""The Node annotation that names the node's OVN chassis, as kube-ovn-cni writes it.

Kube-OVN's controller marks the chassis that a Node names as its own, and deletes a chassis with its
mark that no Node names: the node would lose all its tunnels. By it ovnlet's own controller binds
the ports of pods to the chassis, whatever host name that has.
"""

from typing import Any

from ovnlet.core.annotations import CHASSIS
from ovnlet.kube.node_patcher import NodePatcher
from ovnlet.kube.objects import OwnNode


class ChassisName(NodePatcher[str]):
    """Writes the ``system-id`` of Open vSwitch to the Node's annotation."""

    def read(self, node: OwnNode) -> str | None:
        """Return the chassis that the Node names; None if it names none."""
        return node.annotations.get(CHASSIS)

    def body(self, wanted: str) -> dict[str, Any]:
        """Return the patch that sets the annotation to ``wanted``."""
        return {"metadata": {"annotations": {CHASSIS: wanted}}}
