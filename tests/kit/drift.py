"""What others do to a node: each function is one foreign operation, ``n`` chooses among its forms."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from kit.strict_kernel import NODE, POD, STATIC, Entry, Link, Refused
from kit.strict_node import Row, StrictNode
from kit.strict_traffic import Limit
from ovnlet.core import ids
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.core.resources.ovs import OWNED_IDS

Drift = Callable[[StrictNode, int], None]

_ADDRESSES = (
    "10.16.0.9/16",
    "10.16.0.9/24",
    "10.77.0.1/24",
    "fd00::9/64",
    "fd77::1/64",
    "10.16.0.5/20",
    "fd00::5/80",
)
_ROUTES = (
    ("198.51.100.0/24", None),
    ("203.0.113.0/24", "10.16.0.1"),
    ("0.0.0.0/0", "10.16.0.2"),
    ("10.16.0.0/16", None),
    ("2001:db8:1::/48", None),
    ("2001:db8:2::/48", "fd00::1"),
    ("198.18.0.0/15", "10.99.0.1"),
    ("2001:db8:3::/48", "fd99::1"),
)
_FOREIGN: tuple[tuple[str, str | None, int | None], ...] = (
    *((destination, via, None) for destination, via in _ROUTES),
    ("0.0.0.0/0", "10.16.0.2", 50),
    ("::/0", "fd00::2", None),
    ("::/0", "fd00::2", 100),
    ("2001:db8::/32", "fd00::2", 511),
    ("192.0.2.0/24", "10.16.0.2", None),
)
_OURS = (
    *_ROUTES,
    ("192.0.2.0/24", "10.16.0.2"),
    ("10.16.5.0/24", "10.16.0.1"),
    ("::/0", "fd00::2"),
    ("fd00::100/120", "fd00::1"),
    ("2001:db8:4::/48", "fd00::105"),
    ("fd00::/64", None),
)


def down_and_up(node: StrictNode, n: int) -> None:
    link = _end(node, n)
    if link:
        node.kernel.set_down(link)
        if n // 2 % 2:
            node.kernel.set_up(link)


def change_link(node: StrictNode, n: int) -> None:
    link = _end(node, n)
    if link:
        match n // 2 % 5:
            case 4:
                node.kernel.set_arp(link, False)
            case 0:
                node.kernel.set_mtu(link, (1200, 1300, 1500)[n // 10 % 3])
            case 1:
                node.kernel.set_mac(link, "02:00:00:00:00:99")
            case 2:
                node.kernel.set_alias(link, "mine")
            case _:
                node.kernel.rename(link, f"other{n // 10 % 2}")


def lose_loopback(node: StrictNode, _: int) -> None:
    node.kernel.set_loopback(False)


def delete_link(node: StrictNode, n: int) -> None:
    link = _end(node, n)
    if link:
        node.kernel.delete(link)


def change_address(node: StrictNode, n: int) -> None:
    """Delete one; half of the time it returns with the kernel's own route."""
    link = _end(node, 1)
    if link and link.addresses:
        held = link.addresses[n // 2 % len(link.addresses)]
        node.kernel.delete_address(link, held.ip)
        if n % 2:
            node.kernel.add_address(link, held.ip, noprefixroute=False)


def add_address(node: StrictNode, n: int) -> None:
    link = _end(node, 1)
    if link:
        ip = ip_interface(_ADDRESSES[n // 2 % len(_ADDRESSES)])
        protocol = PROTOCOL if n // 14 % 3 == 0 else 0
        node.kernel.add_address(link, ip, noprefixroute=bool(n % 2), protocol=protocol)


def lose_routes(node: StrictNode, n: int) -> None:
    link = _end(node, 1)
    if link and link.routes:
        if n % 3 == 0:
            for entry in tuple(link.routes):
                node.kernel.delete_route(link, entry)
        else:
            node.kernel.delete_route(link, link.routes[n // 3 % len(link.routes)])


def add_foreign_route(node: StrictNode, n: int) -> None:
    link = _end(node, 1)
    if link:
        destination, via, metric = _FOREIGN[n % len(_FOREIGN)]
        node.kernel.add_route(link, replace(_entry(destination, via, STATIC), chosen=metric))


def put_in_place_of_ours(node: StrictNode, n: int) -> None:
    """`ip route replace`, by which somebody's own comes where ours was.

    At a metric of its own for IPv6, which joins routes of one metric into one.
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
    """A route of our protocol where there should be none, or through another gateway."""
    link = _end(node, 1)
    if link:
        destination, via = _OURS[n % len(_OURS)]
        entry = _entry(destination, via, PROTOCOL)
        for old in [
            r for r in link.routes if (r.protocol, r.destination) == (PROTOCOL, entry.destination)
        ]:
            node.kernel.delete_route(link, old)
        node.kernel.add_route(link, entry)


def change_setting(node: StrictNode, n: int) -> None:
    link = _end(node, 1)
    if link:
        if n % 3 == 0:
            node.kernel.set_tx_checksum(link, True)
        else:
            node.kernel.set_setting(link, "disable_ipv6" if n % 3 == 1 else "accept_ra", "1")


def change_row(node: StrictNode, n: int) -> None:
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
    """`set Interface external_ids=...` as a whole takes OVN's own key along."""
    row = node.rows.get(node.host)
    if row and row.installed is not None:
        row.installed, row.lost = None, True


def block_port(node: StrictNode, _: int) -> None:
    """`ovs-ofctl mod-port ... no-forward`."""
    row = node.rows.get(node.host)
    if row:
        row.blocked = ("no-forward",)


def add_foreign_row(node: StrictNode, n: int) -> None:
    """A port of another vendor; one that claims our iface-id; one with our mark elsewhere or under another name."""
    ours = ids.mark(*node.attachment.key)
    iface_id = ids.iface_id(
        node.attachment.namespace, node.attachment.pod, node.attachment.provider
    )
    for row in (
        Row("br-int", "patch0", {"vendor": "else"}),
        Row("br-int", "rival", {"iface-id": iface_id, "theirs": "1"}),
        Row("br-int", "strayed", {"ovnlet": ours, "iface-id": iface_id}),
        Row("br-ext", "strayed2", {}, ours),
        Row("br-ext", "uplink", {"theirs": "2"}),
    )[n % 5 : n % 5 + 1]:
        node.add_row(row)


def add_foreign_link(node: StrictNode, n: int) -> None:
    netns, name = ((NODE, "uplink"), (POD, "net1"))[n % 2]
    node.kernel.add_single(netns, name)


def change_rows_of_limits(node: StrictNode, n: int) -> None:
    """The binding, the row, the figures, the queue, the policing."""
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
    host, pod = _end(node, 0), _end(node, 1)
    if host and host.htb is not None and n % 2:
        host.htb, host.leaf = ((None, None), (3_000_000, host.leaf), (host.htb, None))[n // 2 % 3]
    elif host and host.policer is not None and n % 4 == 0:
        host.policer = (None, 3_000_000)[n // 4 % 2]
    elif pod and n % 2 == 0:
        pod.shaper = (None, (3_000_000, 99_000))[n // 2 % 2]


def add_foreign_limit(node: StrictNode, n: int) -> None:
    """A QoS row of a stranger's, and one more with our mark."""
    mark = {"ovnlet": ids.mark(*node.attachment.key)} if n % 2 else {"theirs": "1"}
    uuid = node.kernel.birth()
    node.traffic.limits[uuid] = Limit(uuid, mark, 5_000_000, 1)


def obstruct(node: StrictNode, n: int) -> None:
    """Something foreign under a name that should be ours."""
    match n % 3:
        case 0:
            node.kernel.add_single(NODE, node.host)
        case 1:
            node.kernel.add_single(POD, node.attachment.ifname)
        case _:
            node.add_row(Row(("br-ext", "br-int")[n // 3 % 2], node.host, {"theirs": "3"}))


def ovn(node: StrictNode, _: int) -> None:
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
# A lost `ovn-installed` needs an ovn-controller to show, a blocked port an ovs-vswitchd.
WITH_OVN = (*GENTLE, *LIMITS, overwrite_labels, block_port)
ALL = (*GENTLE, obstruct)


def happen(node: StrictNode, drift: Drift, n: int) -> None:
    """Do it, as far as the kernel lets others do it."""
    with suppress(Refused):
        drift(node, n)


def _end(node: StrictNode, n: int) -> Link | None:
    for host, pod in node.pairs():
        return (host, pod)[n % 2]
    return None


def _entry(destination: str, via: str | None, protocol: int) -> Entry:
    return Entry(ip_network(destination), ip_address(via) if via else None, None, protocol)
