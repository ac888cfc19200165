"""Routes in the strict kernel, ours and those that compete with ours: what the driver shows and removes."""

from collections.abc import Iterator

from kit.strict_kernel import KERNEL, Entry, Link, StrictKernel, usual_metric
from ovnlet.core.resources import Address, CompetingRoute, Network, Route, Veth
from ovnlet.core.resources.netlink import PROTOCOL


def seen(veth: Veth, pod: Link, desired: Network) -> Iterator[Route | CompetingRoute]:
    contested = {each.destination: each.later for each in desired if isinstance(each, Route)}
    for entry in pod.routes:
        if is_ours(entry):
            yield Route(
                veth.key, pod.name, entry.destination, entry.via, entry.source, _later(entry)
            )
        elif (
            entry.destination in contested
            and competes(entry, contested[entry.destination])
            and not _is_of_an_address(entry, pod, desired)
        ):
            where = veth.key, pod.name, entry.destination
            yield CompetingRoute(*where, (entry.via,), entry.source, entry.protocol, entry.metric)


def remove(kernel: StrictKernel, link: Link, doomed: Route | CompetingRoute) -> None:
    """Whatever of ours leads there at that metric; of a stranger's just that one."""
    for entry in [entry for entry in link.routes if entry.destination == doomed.destination]:
        same = _is_of(entry, doomed) if isinstance(doomed, Route) else _is(entry, doomed)
        if same:
            kernel.delete_route(link, entry)


def _is_of(entry: Entry, route: Route) -> bool:
    return is_ours(entry) and _later(entry) == route.later


def _is(entry: Entry, rival: CompetingRoute) -> bool:
    own = ((entry.via,), entry.source, entry.protocol, entry.metric)
    return own == (rival.via, rival.source, rival.protocol, rival.metric)


def is_ours(entry: Entry) -> bool:
    return entry.protocol == PROTOCOL and (_later(entry) == 0 or 100 <= _later(entry) < 1000)


def chosen(route: Route) -> int | None:
    """The metric that a route of ours asks for; None for the usual one."""
    return usual_metric(route.destination, PROTOCOL) + route.later if route.later else None


def _later(entry: Entry) -> int:
    return entry.metric - usual_metric(entry.destination, PROTOCOL)


def competes(entry: Entry, later: int = 0) -> bool:
    """With a route of ours to the same destination: not ours, and of no worse metric."""
    return not is_ours(entry) and _later(entry) <= later


def _is_of_an_address(entry: Entry, pod: Link, desired: Network) -> bool:
    """The kernel's own connected route of an address of ours, which goes with it."""
    wanted = {resource.ip.ip for resource in desired if isinstance(resource, Address)}
    return entry.protocol == KERNEL and any(
        not held.noprefixroute
        and held.ip.network == entry.destination
        and entry.source in (None, held.ip.ip)
        for held in pod.addresses
        if held.ip.ip in wanted or held.protocol == PROTOCOL
    )
