"""Kernel settings of a network namespace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sysctl:
    """One setting under /proc/sys/net; ``name`` has slashes (``ipv6/conf/eth0/accept_ra``).

    It is only ensured, never removed: it disappears with its link.
    """

    veth: tuple[object, ...]
    name: str
    value: str

    @property
    def key(self) -> tuple[object, ...]:
        """The name of the setting."""
        return ("sysctl", self.name)

    @property
    def within(self) -> tuple[object, ...]:
        """The key of the link."""
        return self.veth
