"""What is known of a NIC's addresses and routes, after another look at both links."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ovnlet.core.resources import LinkEntry
from ovnlet.core.resources.lifetimes import Lifetime
from ovnlet.core.resources.underlay import Key

Entries = tuple[LinkEntry, ...]
# Seconds until an address ends that its client has replaced by another one.
_REPLACED = 2.0
# Where a route's message has its type of service (struct rtmsg).
_TOS = 3


def refreshed(
    known: Entries, on_nic: Iterable[LinkEntry], on_bridge: Iterable[LinkEntry], now: float
) -> Entries:
    """Return the entries that are known then; the same value if nothing has changed.

    New is what the NIC has. A lifetime is the NIC's, where a client renews it, or else the
    bridge's, where the kernel does it for router advertisements. What has ended is not known any
    more, nor is a route that another one has replaced. Of other attributes of a known entry the
    known ones stay. Routes of router advertisements are never known: the kernel makes them.
    """
    nic, bridge = ({each.same: each for each in every} for every in (on_nic, on_bridge))
    have = {each.same for each in known}
    new = [each for same, each in nic.items() if same not in have and not each.is_of_router]
    replaced = any(each.is_leased for each in new)
    routes = {place for each in new if (place := _place(each))}
    gone_on_nic = [each for each in known if each.same not in nic]
    changed = {each.same for each in outdated(new, gone_on_nic)}
    found = []
    for each in (*known, *new):
        gone = each.same in have and each.same not in nic and each.same not in bridge
        if each.same in changed or (gone and _place(each) in routes):
            continue
        if (shown := nic.get(each.same)) is not None:
            lifetime = shown.lifetime
        elif replaced and each.is_leased:
            lifetime = Lifetime(now, now + _REPLACED, now)
        else:
            other = bridge.get(each.same)
            follows = other is not None and other.lifetime and each.lifetime
            lifetime = other.lifetime if other is not None and follows else each.lifetime
        found.append(_with(each, lifetime))
    left = [each for each in found if not (each.lifetime and each.lifetime.has_ended(now))]
    return tuple(left if len(left) == len(found) else _reachable(found, left))


def outdated(wanted: Iterable[LinkEntry], found: Iterable[LinkEntry]) -> Iterator[LinkEntry]:
    """Yield the routes of a lease that others of a lease stand for, which are wanted.

    A client that appends the new route and deletes the old one by the NIC's name, as
    systemd-networkd does, leaves the old one on the bridge, before the new one.
    """
    ours = [each for each in wanted if each.is_route_of_lease]
    same, places = {each.same for each in ours}, {_place(each) for each in ours}
    for each in found:
        if each.is_route_of_lease and each.same not in same and _place(each) in places:
            yield each


def _place(entry: LinkEntry) -> Key | None:
    """Return what two routes of IPv4 share of which one replaces the other, None for other entries.

    To the kernel it is destination, type of service, table and metric, whatever the link and the
    gateway (fib_table_insert): so a client's `ip route replace` takes the route of the bridge. One
    that somebody appends leaves the others.
    """
    if entry.kind != "route" or not entry.is_ipv4:
        return None
    words = entry.text.split()
    hops = {at + offset for at, word in enumerate(words) if word == "via" for offset in (0, 1)}
    kept = tuple(word for at, word in enumerate(words) if at not in hops)
    return (*kept, entry.message[_TOS : _TOS + 1])


def _with(entry: LinkEntry, lifetime: Lifetime | None) -> LinkEntry:
    """Return the entry with a lifetime; itself where it has that already."""
    had = entry.lifetime
    if lifetime is had or (lifetime is not None and lifetime.is_like(had)):
        return entry
    return replace(entry, lifetime=lifetime)


def _reachable(before: list[LinkEntry], left: list[LinkEntry]) -> list[LinkEntry]:
    """Return what is left without routes of IPv4 if the last address of it has ended.

    The kernel flushes them with it (fib_disable_ip), and takes none before there is another.
    """
    had, has = (
        any(each.kind == "address" and each.is_ipv4 for each in every) for every in (before, left)
    )
    if has or not had:
        return left
    return [each for each in left if each.kind != "route" or not each.is_ipv4]
