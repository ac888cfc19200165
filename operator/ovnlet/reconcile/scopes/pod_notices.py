"""What a pod asked for and does not get as asked, in words for people."""

from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Node
from ovnlet.core.shaping import unenforced
from ovnlet.core.tunnel import without_ipv6
from ovnlet.reconcile.outcome import Notice


def notices(allocation: Allocation, node: Node, link: str) -> tuple[Notice, ...]:
    """Return what is rounded, not enforced on the node's link, or left out on this node."""
    small = without_ipv6(allocation, node)
    return (
        *(Notice("AnnotationRounded", text) for text in allocation.notices),
        *(Notice("RateNotEnforced", text) for text in unenforced(allocation.qos, node, link)),
        *([Notice("Ipv6NotPossible", small)] if small else ()),
    )
