"""Kernel settings of a pod's own network namespace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sysctl:
    """One setting under /proc/sys/net, ``name`` with slashes (``ipv6/conf/eth0/accept_ra``).

    Only ensured, never removed: it goes with its link.
    """

    veth: tuple[object, ...]
    name: str
    value: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("sysctl", self.name)

    @property
    def within(self) -> tuple[object, ...]:
        return self.veth
