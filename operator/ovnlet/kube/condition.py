"""NetworkUnavailable, a condition of the Node: whether the node's own way into the cluster's network is there.

Only where the node has such a way; elsewhere the condition is somebody else's.
"""

from datetime import UTC, datetime
from typing import Any

from ovnlet.kube.node_patcher import NodePatcher
from ovnlet.kube.objects import UNAVAILABLE, OwnNode
from ovnlet.kube.session import Access

UP, DOWN = ("False", "NodeInterfaceReady"), ("True", "NodeInterfaceFailed")


class Condition(NodePatcher[tuple[str, str]]):
    """Status and reason; the message is of the last that was wanted."""

    def __init__(self, access: Access, node: str) -> None:
        super().__init__(access, node)
        self._message = ""

    def read(self, node: OwnNode) -> tuple[str, str] | None:
        return node.unavailable

    def tell(self, up: bool, message: str) -> None:
        self._message = message
        self.want(UP if up else DOWN)

    def body(self, wanted: tuple[str, str]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status, reason = wanted
        condition = {
            "type": UNAVAILABLE,
            "status": status,
            "reason": reason,
            "message": self._message,
        }
        return {
            "status": {
                "conditions": [condition | {"lastTransitionTime": now, "lastHeartbeatTime": now}]
            }
        }
