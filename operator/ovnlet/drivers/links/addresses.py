"""The addresses of the node's links, by the names of these."""

from ovnlet.core.errors import NodeFault
from ovnlet.drivers.links import veths
from ovnlet.drivers.linux.rtnetlink import address, get_addresses
from ovnlet.drivers.linux.transport import Refused, Socket


def by_link() -> dict[str, tuple[str, ...]]:
    """Return the global addresses of each link as text, in the kernel's order.

    Raise NodeFault if the kernel denies the question.
    """
    found: dict[int, list[str]] = {}
    try:
        with Socket() as host:
            for entry in (address(body) for body in host.dump(get_addresses(0))):
                if not entry.ip.ip.is_link_local:
                    found.setdefault(entry.link, []).append(str(entry.ip.ip))
            names = {index: veths.named(host, index) for index in found}
    except (OSError, Refused) as error:
        raise NodeFault(f"the node's addresses cannot be read: {error}") from error
    return {link.name: tuple(found[index]) for index, link in names.items() if link is not None}
