"""Routes in the strict kernel, ours and competing ones: what the driver observes and removes."""

from collections.abc import Iterator

from kit.strict_kernel import StrictKernel
from kit.strict_links import KERNEL, Entry, Link, usual_metric
from ovnlet.core.resources import Address, CompetingRoute, Network, Route, Veth
from ovnlet.core.resources.netlink import PROTOCOL


def seen(veth: Veth, pod: Link, desired: Network) -> Iterator[Route | CompetingRoute]:
    """Yield our routes on a link, and the foreign ones that compete with a desired route."""
    contested = {resource.destination for resource in desired if isinstance(resource, Route)}
    for entry in pod.routes:
        if is_ours(entry):
            yield Route(veth.key, pod.name, entry.destination, entry.via, entry.source)
        elif (
            entry.destination in contested
            and competes(entry)
            and not _is_of_an_address(entry, pod, desired)
        ):
            where = veth.key, pod.name, entry.destination
            yield CompetingRoute(*where, (entry.via,), entry.source, entry.protocol, entry.metric)


def remove(kernel: StrictKernel, link: Link, route: Route | CompetingRoute) -> None:
    """Delete all our routes to that destination, or exactly the given competing route."""
    for entry in [entry for entry in link.routes if entry.destination == route.destination]:
        if is_ours(entry) if isinstance(route, Route) else _is(entry, route):
            kernel.delete_route(link, entry)


def _is(entry: Entry, competing: CompetingRoute) -> bool:
    own = ((entry.via,), entry.source, entry.protocol, entry.metric)
    return own == (competing.via, competing.source, competing.protocol, competing.metric)


def is_ours(entry: Entry) -> bool:
    """Return whether a route has our protocol and no metric that somebody chose."""
    return entry.protocol == PROTOCOL and entry.chosen is None


def competes(entry: Entry) -> bool:
    """Return whether Linux may prefer a foreign route to ours of the same destination."""
    return not is_ours(entry) and entry.metric <= usual_metric(entry.destination, PROTOCOL)


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
