"""What values of settings may be: patterns, and checks that a pattern cannot make."""

from ipaddress import IPv4Network, IPv6Network, ip_network

PATH = r"^/[^\x00]*$"
NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
LISTEN = r"^(\d+(\.\d+){3}|\[[0-9a-fA-F:]+\]):\d{1,5}$"
# As ``encap_ip``: each node's own.
INTERNAL_IP = "InternalIP"
REMOTE = r"(unix:/[^,]+|(tcp|ssl):[^,]+:\d+)"


def networks(text: str) -> frozenset[IPv4Network | IPv6Network]:
    """Return the prefixes of a text, comma separated. Raise ValueError."""
    return frozenset(ip_network(part.strip()) for part in text.split(",") if part.strip())


def check_mtu(value: int) -> None:
    """Raise ValueError for an MTU with which the kernel disables IPv6 on a link."""
    if 0 < value < 1280:
        raise ValueError("0, or at least 1280")


def check_prefixes(value: str) -> None:
    """Raise ValueError for a text that is no prefixes, or has one of length 0."""
    if any(network.prefixlen == 0 for network in networks(value)):
        raise ValueError("prefixes longer than /0")
