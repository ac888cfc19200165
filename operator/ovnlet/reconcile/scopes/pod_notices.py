"""What a pod asked for and does not get as asked, in words for people."""

from collections.abc import Mapping

from ovnlet.core.allocation import Allocation
from ovnlet.core.annotations import key
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.settled_annotations import is_withdrawn
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


def renamed(attachment: Attachment, text: Mapping[str, str]) -> tuple[Notice, ...]:
    """Return that a running interface's allocation goes on under another name; else nothing.

    Kube-OVN's controller does so when a pod lists a network a second time: it deletes the logical
    port of the first interface and makes another one, with another address.
    """
    provider = f"{attachment.provider}.{attachment.ifname}"
    allocated = text.get(key(provider, "allocated")) == "true"
    if not allocated or not is_withdrawn(text, attachment.provider):
        return ()
    address = text.get(key(provider, "ip_address"), "")
    why = (
        f"{attachment.ifname} has no logical port any more: the network's controller gave it "
        f"{address} as {provider}, and addresses of a running sandbox are fixed; recreate the pod"
    )
    return (Notice("AllocationRenamed", why),)
