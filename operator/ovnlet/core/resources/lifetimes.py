"""How long an address or a route is valid that a DHCP server or a router gave."""

from dataclasses import dataclass, field
from typing import Self

# The kernel's INFINITY_LIFE_TIME, in seconds.
FOREVER = 0xFFFFFFFF
# Seconds by which two ends may differ and still be one: the kernel counts whole seconds.
_SAME = 3.0
# The part of a lifetime that is left when it counts as not renewed. A client of DHCP asks its
# server at a half, and any server at an eighth (RFC 2131, section 4.4.5), so that the last
# sixteenth is after both, and long enough to give everything back.
_LAST = 16


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The ends of being preferred and of being valid, in seconds since 1970.

    ``seen`` is when these ends were observed first. It is the clock of the wall, because a record
    of it outlasts a reboot.
    """

    preferred: float
    valid: float
    seen: float = field(default=0.0, compare=False)

    def is_like(self, other: Self | None) -> bool:
        """Return whether both end at the same time, as far as the kernel shows it."""
        if other is None:
            return False
        ends = ((self.preferred, other.preferred), (self.valid, other.valid))
        return all(abs(one - another) <= _SAME for one, another in ends)

    @property
    def is_replaced(self) -> bool:
        """Whether it was not preferred any more when it was seen: nobody is to renew it."""
        return self.preferred <= self.seen

    def has_ended(self, now: float) -> bool:
        """Return whether it is over, or will be before anything can be done with it."""
        return self.valid - now < 1

    @property
    def renewed_by(self) -> float:
        """When a client that can reach its server has renewed it."""
        return self.valid - (self.valid - self.seen) / _LAST

    def left(self, now: float) -> tuple[int, int]:
        """Return the seconds of being preferred and of being valid that are left.

        Zero seconds of being valid would be refused by the kernel.
        """
        valid = min(FOREVER, max(1, round(self.valid - now)))
        return min(valid, max(0, round(self.preferred - now))), valid
