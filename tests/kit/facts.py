"""Facts of a strict node's inventory: which are foreign, and which of those compete with ours."""

from kit import pods
from kit.strict_links import Entry
from kit.strict_node import StrictNode
from ovnlet.core import ids
from ovnlet.core.resources import Network, Route
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.core.resources.ovs import OWNED_IDS

Facts = frozenset[tuple[object, ...]]


def foreign(node: StrictNode) -> Facts:
    """Return everything that is neither ours nor within ours.

    The pod's `lo` is no foreign thing: ours to set up, and not to remove.
    """
    mine = {(link.netns, link.name) for pair in node.pairs() for link in pair}
    rows = {row.name for row in node.our_rows()}
    return frozenset(
        fact
        for fact in node.inventory()
        if fact[0] != "loopback"
        and not (fact[0] in {"link", "setting", "address", "route", "qdisc"} and fact[1:3] in mine)
        and not (fact[0] == "limit" and fact[1] == ids.mark(*node.attachment.key))
        and not (fact[0] == "plug" and fact[1] in rows)
        and not (fact[0] == "row" and fact[2] in rows)
        and not (fact[0] == "external_id" and fact[1] in rows)
    )


def competes(fact: tuple[object, ...], desired: Network) -> bool:
    """Return whether this is a foreign route to a destination of ours, of no worse metric."""
    entry = fact[-1]
    if fact[0] != "route" or not isinstance(entry, Entry):
        return False
    ours = {resource.destination for resource in desired if isinstance(resource, Route)}
    return entry.destination in ours and entry.metric <= (
        512 if entry.destination.version == 6 else 0
    )


def without_our_iface_id(facts: Facts) -> Facts:
    """Return the facts without the only thing that we remove from a foreign row: our `iface-id`."""
    ours = ids.iface_id(pods.ATTACHMENT.namespace, pods.ATTACHMENT.pod, pods.ATTACHMENT.provider)
    return frozenset(fact for fact in facts if fact[2:] != ("iface-id", ours))


def foreign_within(node: StrictNode) -> Facts:
    """Return what others added to our things.

    These are keys in the external_ids of a row, by its name, and addresses and routes on the pod's
    end, by the serial number of the link.
    """
    found: set[tuple[object, ...]] = set()
    for _, pod in node.pairs():
        found |= {
            ("route", pod.serial, entry) for entry in pod.routes if entry.protocol != PROTOCOL
        }
        found |= {
            ("address", pod.serial, held)
            for held in pod.addresses
            if held.protocol != PROTOCOL and str(held.ip.ip) not in ("10.16.0.5", "fd00::5")
        }
    for row in node.rows.values():
        found |= {
            ("external_id", row.name, k, v)
            for k, v in row.external_ids.items()
            if k not in OWNED_IDS
        }
    return frozenset(found)


def hides_a_gateway(node: StrictNode, desired: Network) -> bool:
    """Return whether a foreign route makes Linux refuse one of the desired IPv6 routes.

    It leads to a destination that is not desired, is no connected route, and is more specific than
    our connected route to the gateway: the kernel then answers EHOSTUNREACH. Such a route competes
    with none of ours, so it stays; the agent reports the refusal until its owner removes it.
    """
    ours = [resource for resource in desired if isinstance(resource, Route)]
    connected = [route.destination for route in ours if route.via is None]
    foreign = [
        entry.destination
        for _, pod in node.pairs()
        for entry in pod.routes
        if entry.protocol != PROTOCOL and entry.via and entry.destination.version == 6
    ]
    for gateway in {route.via for route in ours if route.via}:
        nearest = max((each.prefixlen for each in connected if gateway in each), default=0)
        for destination in set(foreign) - {route.destination for route in ours}:
            if gateway in destination and destination.prefixlen > nearest:
                return True
    return False
