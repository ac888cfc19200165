"""Routes in the strict kernel, ours and competing ones: what the driver observes and removes."""

from collections.abc import Iterator

from kit.strict_kernel import StrictKernel
from kit.strict_links import KERNEL, Entry, Link, usual_metric
from ovnlet.core.resources import Address, CompetingRoute, Network, Route, Veth
from ovnlet.core.resources.netlink import PROTOCOL


def seen(veth: Veth, pod: Link, desired: Network) -> Iterator[Route | CompetingRoute]:
    """Yield our routes on a link, and the foreign ones that compete with a desired route."""
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


def remove(kernel: StrictKernel, link: Link, route: Route | CompetingRoute) -> None:
    """Delete our routes to that destination and metric, or exactly the given competing one."""
    for entry in [entry for entry in link.routes if entry.destination == route.destination]:
        if _is_of(entry, route) if isinstance(route, Route) else _is(entry, route):
            kernel.delete_route(link, entry)


def _is_of(entry: Entry, route: Route) -> bool:
    return is_ours(entry) and _later(entry) == route.later


def _is(entry: Entry, competing: CompetingRoute) -> bool:
    own = ((entry.via,), entry.source, entry.protocol, entry.metric)
    return own == (competing.via, competing.source, competing.protocol, competing.metric)


def is_ours(entry: Entry) -> bool:
    """Return whether a route has our protocol and a metric of ours."""
    return entry.protocol == PROTOCOL and (_later(entry) == 0 or 100 <= _later(entry) < 1000)


def chosen(route: Route) -> int | None:
    """Return the metric that a route of ours asks for; None for the usual one."""
    return usual_metric(route.destination, PROTOCOL) + route.later if route.later else None


def _later(entry: Entry) -> int:
    return entry.metric - usual_metric(entry.destination, PROTOCOL)


def competes(entry: Entry, later: int = 0) -> bool:
    """Return whether Linux may prefer a foreign route to ours of the same destination."""
    return not is_ours(entry) and _later(entry) <= later


def _is_of_an_address(entry: Entry, pod: Link, desired: Network) -> bool:
    """Return whether this is the kernel's connected route of one of our addresses.

    The kernel deletes such a route together with its address.
    """
    wanted = {resource.ip.ip for resource in desired if isinstance(resource, Address)}
    return entry.protocol == KERNEL and any(
        not held.noprefixroute
        and held.ip.network == entry.destination
        and entry.source in (None, held.ip.ip)
        for held in pod.addresses
        if held.ip.ip in wanted or held.protocol == PROTOCOL
    )
