"""The Node condition NetworkUnavailable: whether the node's own interface (ovn0) works.

Use it only on a node that has such an interface. Elsewhere another component owns the condition.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ovnlet.kube.node_patcher import NodePatcher
from ovnlet.kube.objects import UNAVAILABLE, OwnNode
from ovnlet.kube.session import Access

UP, DOWN = ("False", "NodeInterfaceReady"), ("True", "NodeInterfaceFailed")
# The interface works, and some prefixes of the cluster overlap with networks of the host.
PARTLY = ("False", "RoutesNotSet")


class Condition(NodePatcher[tuple[str, str]]):
    """Writes status and reason of the condition.

    The message goes along with a write; a message that changes alone is not written.
    """

    def __init__(
        self, access: Access, node: str, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(access, node, refused)
        self._message = ""

    def read(self, node: OwnNode) -> tuple[str, str] | None:
        """Return status and reason of the Node's condition; None if it has no such condition."""
        return node.unavailable

    def report(self, up: bool, message: str, partly: bool = False) -> None:
        """Set the wanted condition. ``run`` writes it.

        ``partly`` means that the node does not reach all of the cluster.
        """
        self._message = message
        works = PARTLY if partly else UP
        self.want(works if up else DOWN)

    def body(self, wanted: tuple[str, str]) -> dict[str, Any]:
        """Return the patch that sets the condition, with the current time in both time fields."""
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
