"""Foreign operations on a node: what other programs and people do to it.

Each function does one operation; its argument ``n`` selects one of the operation's forms.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from kit.drift_values import ADDRESSES, FOREIGN, OURS
from kit.strict_links import NODE, POD, STATIC, Entry, Link, Refused
from kit.strict_node import StrictNode
from kit.strict_rows import Row
from kit.strict_traffic import Limit
from ovnlet.core import ids
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.core.resources.ovs import OWNED_IDS

Drift = Callable[[StrictNode, int], None]


def down_and_up(node: StrictNode, n: int) -> None:
    """Set one end of the veth pair down and, for some ``n``, up again."""
    link = _end(node, n)
    if link:
        node.kernel.set_down(link)
        if n // 2 % 2:
            node.kernel.set_up(link)


def change_link(node: StrictNode, n: int) -> None:
    """Change MTU, MAC, alias or name of one end, or switch its ARP off."""
    link = _end(node, n)
    if link:
        match n // 2 % 5:
            case 0:
                node.kernel.set_mtu(link, (1200, 1300, 1500)[n // 10 % 3])
            case 1:
                node.kernel.set_mac(link, "02:00:00:00:00:99")
            case 2:
                node.kernel.set_alias(link, "mine")
            case 3:
                node.kernel.set_arp(link, False)
            case _:
                node.kernel.rename(link, f"other{n // 10 % 2}")


def lose_loopback(node: StrictNode, _: int) -> None:
    """Set the pod's `lo` down."""
    node.kernel.set_loopback(False)


def delete_link(node: StrictNode, n: int) -> None:
    """Delete the veth pair by one of its ends."""
    link = _end(node, n)
    if link:
        node.kernel.delete(link)


def change_address(node: StrictNode, n: int) -> None:
    """Delete one address; for odd ``n`` add it again with the kernel's connected route."""
    link = _end(node, 1)
    if link and link.addresses:
        held = link.addresses[n // 2 % len(link.addresses)]
        node.kernel.delete_address(link, held.ip)
        if n % 2:
            node.kernel.add_address(link, held.ip, noprefixroute=False)


def add_address(node: StrictNode, n: int) -> None:
    """Add an address to the pod's end; for some ``n`` with our protocol."""
    link = _end(node, 1)
    if link:
        ip = ip_interface(ADDRESSES[n // 2 % len(ADDRESSES)])
        protocol = PROTOCOL if n // 14 % 3 == 0 else 0
        node.kernel.add_address(link, ip, noprefixroute=bool(n % 2), protocol=protocol)


def lose_routes(node: StrictNode, n: int) -> None:
    """Delete all routes of the pod's end, or one of them."""
    link = _end(node, 1)
    if link and link.routes:
        if n % 3 == 0:
            for entry in tuple(link.routes):
                node.kernel.delete_route(link, entry)
        else:
            node.kernel.delete_route(link, link.routes[n // 3 % len(link.routes)])


def add_foreign_route(node: StrictNode, n: int) -> None:
    """Add a route of another protocol, with or without a metric of its own."""
    link = _end(node, 1)
    if link:
        destination, via, metric = FOREIGN[n % len(FOREIGN)]
        node.kernel.add_route(link, replace(_entry(destination, via, STATIC), chosen=metric))


def put_in_place_of_ours(node: StrictNode, n: int) -> None:
    """Replace one of our routes, as `ip route replace` does.

    For IPv6 the foreign route has a metric of its own: the kernel joins routes of one metric.
    """
    link = _end(node, 1)
    if link:
        for ours in [r for r in link.routes if r.protocol == PROTOCOL and r.via][n % 3 : n % 3 + 1]:
            node.kernel.delete_route(link, ours)
            via, metric = ("10.16.0.3", None) if ours.destination.version == 4 else ("fd00::3", 510)
            node.kernel.add_route(
                link, Entry(ours.destination, ip_address(via), None, STATIC, metric)
            )


def change_our_route(node: StrictNode, n: int) -> None:
    """Add a route of our protocol that is not desired, or send one of ours to another gateway."""
    link = _end(node, 1)
    if link:
        destination, via = OURS[n % len(OURS)]
        entry = _entry(destination, via, PROTOCOL)
        for old in [
            r for r in link.routes if (r.protocol, r.destination) == (PROTOCOL, entry.destination)
        ]:
            node.kernel.delete_route(link, old)
        node.kernel.add_route(link, entry)


def change_setting(node: StrictNode, n: int) -> None:
    """Change the checksum offload or a sysctl of the pod's end."""
    link = _end(node, 1)
    if link:
        if n % 3 == 0:
            node.kernel.set_tx_checksum(link, True)
        else:
            node.kernel.set_setting(link, "disable_ipv6" if n % 3 == 1 else "accept_ra", "1")


def change_row(node: StrictNode, n: int) -> None:
    """Delete our row, or change its external_ids or its mark."""
    row = node.rows.get(node.host)
    names = sorted(OWNED_IDS)
    if row and row in node.our_rows():
        match n % 5:
            case 0:
                node.delete_row(row)
            case 1:
                node.label(row, names[n // 5 % len(names)], None)
            case 2:
                node.label(row, names[n // 5 % len(names)], "else")
            case 3:
                node.unmark(row)
            case _:
                node.label(row, "theirs", str(n))


def overwrite_labels(node: StrictNode, _: int) -> None:
    """Remove OVN's own key too, as `set Interface external_ids=...` does."""
    row = node.rows.get(node.host)
    if row and row.installed is not None:
        row.installed, row.lost = None, True


def block_port(node: StrictNode, _: int) -> None:
    """Have the switch stop a port's traffic, as `ovs-ofctl mod-port ... no-forward` does."""
    row = node.rows.get(node.host)
    if row:
        row.blocked = ("no-forward",)


def add_foreign_row(node: StrictNode, n: int) -> None:
    """Add a foreign row.

    Either a port of another vendor, one with our iface-id, or one with our mark on another bridge
    or under another name.
    """
    ours = ids.mark(*node.attachment.key)
    iface_id = ids.iface_id(
        node.attachment.namespace, node.attachment.pod, node.attachment.provider
    )
    for row in (
        Row("br-int", "patch0", {"vendor": "else"}),
        Row("br-int", "duplicate", {"iface-id": iface_id, "theirs": "1"}),
        Row("br-int", "misplaced", {"ovnlet": ours, "iface-id": iface_id}),
        Row("br-ext", "misplaced2", {}, ours),
        Row("br-ext", "uplink", {"theirs": "2"}),
    )[n % 5 : n % 5 + 1]:
        node.add_row(row)


def add_foreign_link(node: StrictNode, n: int) -> None:
    """Add a foreign link on the node or in the pod."""
    netns, name = ((NODE, "uplink"), (POD, "net1"))[n % 2]
    node.kernel.add_single(netns, name)


def change_rows_of_limits(node: StrictNode, n: int) -> None:
    """Change our QoS rows: the reference, the row, its rate, its queue or the policing."""
    traffic, plug = node.traffic, node.traffic.plugs.get(node.host)
    limit = next(
        (each for each in traffic.limits.values() if each.mark == ids.mark(*node.attachment.key)),
        None,
    )
    if plug and n % 5 == 0:
        plug.policing = (None, (77, 77))[n // 5 % 2]
    elif plug and limit:
        match n % 5:
            case 1:
                plug.qos = None
            case 2:
                plug.qos = None
                del traffic.limits[limit.uuid]
            case 3:
                limit.rate, limit.burst = 1_000_000, 7
            case _:
                limit.whole = False


def change_traffic_control(node: StrictNode, n: int) -> None:
    """Delete or change a qdisc or a police filter."""
    host, pod = _end(node, 0), _end(node, 1)
    if host and host.htb is not None and n % 2:
        host.htb, host.leaf = ((None, None), (3_000_000, host.leaf), (host.htb, None))[n // 2 % 3]
    elif host and host.policer is not None and n % 4 == 0:
        host.policer = (None, 3_000_000)[n // 4 % 2]
    elif pod and n % 2 == 0:
        pod.shaper = (None, (3_000_000, 99_000))[n // 2 % 2]


def add_foreign_limit(node: StrictNode, n: int) -> None:
    """Add a foreign QoS row, or a second one with our mark."""
    mark = {"ovnlet": ids.mark(*node.attachment.key)} if n % 2 else {"theirs": "1"}
    uuid = node.kernel.next_serial()
    node.traffic.limits[uuid] = Limit(uuid, mark, 5_000_000, 1)


def obstruct(node: StrictNode, n: int) -> None:
    """Create something foreign under a name that the attachment needs."""
    match n % 3:
        case 0:
            node.kernel.add_single(NODE, node.host)
        case 1:
            node.kernel.add_single(POD, node.attachment.ifname)
        case _:
            node.add_row(Row(("br-ext", "br-int")[n // 3 % 2], node.host, {"theirs": "3"}))


def ovn(node: StrictNode, _: int) -> None:
    """Let ovs-vswitchd and ovn-controller catch up."""
    node.ovn()


GENTLE: tuple[Drift, ...] = (
    down_and_up,
    change_link,
    lose_loopback,
    delete_link,
    change_address,
    add_address,
    lose_routes,
    add_foreign_route,
    put_in_place_of_ours,
    change_our_route,
    change_setting,
    change_row,
    add_foreign_row,
    add_foreign_link,
    ovn,
)
LIMITS: tuple[Drift, ...] = (change_rows_of_limits, change_traffic_control, add_foreign_limit)
# Only an ovn-controller shows a lost `ovn-installed`, only an ovs-vswitchd a blocked port.
WITH_OVN = (*GENTLE, *LIMITS, overwrite_labels, block_port)
ALL = (*GENTLE, obstruct)


def perform(node: StrictNode, drift: Drift, n: int) -> None:
    """Run a foreign operation; ignore what the kernel refuses."""
    with suppress(Refused):
        drift(node, n)


def _end(node: StrictNode, n: int) -> Link | None:
    """Return the node's end (even ``n``) or the pod's end of our veth pair, None without a pair."""
    for host, pod in node.pairs():
        return (host, pod)[n % 2]
    return None


def _entry(destination: str, via: str | None, protocol: int) -> Entry:
    return Entry(ip_network(destination), ip_address(via) if via else None, None, protocol)
