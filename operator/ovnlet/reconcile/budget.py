"""What one key may cost: looks, repairs and expensive remedies, each a token bucket.

An empty bucket delays, it never drops: the last change always gets its look. A call of the runtime
and an edit spend nothing and wait for nothing. Without budgets, a pod that changes its own network
in a loop, or a program that undoes each repair at once, would keep the agent busy endlessly.
"""

from dataclasses import dataclass, field
from typing import Literal

Reason = Literal["looks", "repairs", "remedies"]


@dataclass(slots=True)
class Bucket:
    """A token bucket: ``burst`` tokens at most, one more every ``every`` seconds."""

    burst: int
    every: float
    left: float = field(init=False)
    since: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        """Begin full."""
        self.left = self.burst

    def wait(self, now: float) -> float:
        """Return the seconds until a token is there; 0 if one is."""
        self._refill(now)
        return 0.0 if self.left >= 1 else (1 - self.left) * self.every

    def spend(self, now: float) -> None:
        """Take a token, whether there is one or not. Debts are limited to one token."""
        self._refill(now)
        self.left = max(self.left - 1, -1.0)

    def _refill(self, now: float) -> None:
        if now > self.since:
            self.left = min(self.left + (now - self.since) / self.every, float(self.burst))
            self.since = now


@dataclass(slots=True)
class Budget:
    """The buckets of one key.

    ``looks`` are passes that a notification of the node asked for; 5 a second of 1.5 ms each are 1
    % of a core. ``repairs`` are passes that undid drift, and passes that failed: `ip address flush`
    alone undoes ten repairs in a row before it gives up. ``remedies`` are steps that cost the whole
    node something, such as a recompute of ovn-controller.
    """

    looks: Bucket = field(default_factory=lambda: Bucket(20, 0.2))
    repairs: Bucket = field(default_factory=lambda: Bucket(15, 2.5))
    remedies: Bucket = field(default_factory=lambda: Bucket(2, 60.0))

    def look(self, now: float) -> tuple[float, Reason]:
        """Spend a look, or return the seconds to wait for one and which bucket is empty."""
        waits: tuple[tuple[float, Reason], ...] = (
            (self.repairs.wait(now), "repairs"),
            (self.looks.wait(now), "looks"),
        )
        longest = max(waits)
        if not longest[0]:
            self.looks.spend(now)
        return longest

    def remedy(self, now: float) -> bool:
        """Spend a remedy; return whether one was left."""
        if self.remedies.wait(now):
            return False
        self.remedies.spend(now)
        return True

    def is_full(self, now: float) -> bool:
        """Return whether nothing of it is spent, so that it need not be kept."""
        return all(
            (each.wait(now), each.left >= each.burst)[1]
            for each in (self.looks, self.repairs, self.remedies)
        )
