"""A pod's bandwidth limits and the impairment of its packets, parsed from text.

Rates are in bit/s of whole Ethernet frames, bursts in bits. Every hop can express a whole kbit/s:
OVS policing counts in kbit, tc in bytes per second.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

MEGA = 1_000_000
_KILO = 1000
# HTB never sends less than 1500 bytes per second. tc stores a burst as a 32-bit number of bytes and
# as a 32-bit number of ticks of 64 ns.
LEAST, MOST = 12_000, 1_000_000 * MEGA
_BURST = 32_000 * MEGA
# The most seconds that a burst may take at the rate: more ticks do not fit in tc's 32 bits.
LONGEST = 270
_LATENCY, _PACKETS = 60_000, 1_000_000
_QUANTITY = re.compile(
    r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]?|[KMGTPE]i))"
)
_SUFFIX = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


class NotAllowed(ValueError):
    """A value that is not allowed. The message says what is allowed instead."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of one direction, as seen from the pod. ``burst`` is None if none was requested."""

    rate: int
    burst: int | None = None

    @property
    def bucket(self) -> int:
        """Bits that may pass at once: the requested burst, or what passes in 100 ms."""
        return min(self.rate // 10, _BURST) if self.burst is None else self.burst


@dataclass(frozen=True, slots=True)
class Impairment:
    """What netem does to packets on their way to the pod.

    Times are in microseconds, ``limit`` in packets, ``loss`` in millionths. 0 means none, or the
    default.
    """

    latency: int = 0
    jitter: int = 0
    limit: int = 0
    loss: int = 0


@dataclass(frozen=True, slots=True)
class Qos:
    """All limits of a pod. ``ingress`` is what the pod receives."""

    ingress: Limit | None = None
    egress: Limit | None = None
    impairment: Impairment | None = None


@dataclass(frozen=True, slots=True)
class Rounded:
    """A value that is used rounded. ``note`` says in words what is used; it is empty if exact."""

    value: int
    note: str = ""


def megabits(text: str) -> int:
    """Return a rate given in whole Mbit/s as bit/s; 0 means no limit. Raises NotAllowed."""
    allowed = f"a whole number of Mbit/s up to {MOST // MEGA}; 0 for no limit"
    return _whole(text, MOST // MEGA, allowed) * MEGA


def burst(text: str) -> int:
    """Return a burst given in whole Mbit as bits; 0 means that none is given. Raises NotAllowed."""
    return (
        _whole(
            text,
            _BURST // MEGA,
            f"a whole number of Mbit up to {_BURST // MEGA}; 0 for the default",
        )
        * MEGA
    )


def quantity(text: str) -> Rounded:
    """Return a Kubernetes quantity of bit/s, rounded down to a whole kbit/s. Raises NotAllowed."""
    allowed = "a quantity of bits per second such as 500k, 10M or 1G, from 12k to 1T"
    found = _QUANTITY.fullmatch(text.removeprefix("+"))
    if found is None or len(text) > 40:
        raise NotAllowed(allowed)
    number, exponent, suffix = found.groups()
    exact = Decimal(number)
    if suffix and suffix.endswith("i"):
        exact *= Decimal(1024) ** (_SUFFIX[suffix[0].replace("K", "k")] // 3)
    else:
        exact = exact.scaleb(int(exponent) if exponent else _SUFFIX[suffix or ""])
    if not LEAST <= exact <= MOST:
        raise NotAllowed(allowed)
    rate = int(exact) // _KILO * _KILO
    return Rounded(
        rate, "" if rate == exact else f"{rate // _KILO}k is in force: only whole kbit/s can be set"
    )


def milliseconds(text: str) -> int:
    """Return whole milliseconds as microseconds. Raises NotAllowed."""
    return (
        _whole(text, _LATENCY, f"a whole number of milliseconds up to {_LATENCY}; 0 for none")
        * 1000
    )


def packets(text: str) -> int:
    """Return a whole number of packets. Raises NotAllowed."""
    return _whole(text, _PACKETS, f"a whole number of packets up to {_PACKETS}; 0 for the default")


def percent(text: str) -> Rounded:
    """Return a percentage, fractions included, as millionths. Raises NotAllowed."""
    allowed = "a number of per cent from 0.0001 to 100, such as 0.5; 0 for none"
    try:
        exact = Decimal(text) * 10_000 if len(text) <= 40 else Decimal("NaN")
    except ArithmeticError:  # not a number, or one like 1e999999 that Decimal cannot hold
        raise NotAllowed(allowed) from None
    if not exact.is_finite() or exact < 0 or exact > MEGA or 0 < exact < 1:
        raise NotAllowed(allowed)
    share = int(exact.to_integral_value())
    return Rounded(
        share,
        "" if share == exact else f"{format_percent(share)} is in force: four decimals can be set",
    )


def format_percent(share: int) -> str:
    """Return millionths as a percentage in decimal notation."""
    return f"{Decimal(share) / 10_000:f}"


def _whole(text: str, most: int, allowed: str) -> int:
    """Return a whole number from 0 to ``most``. Raises NotAllowed with the text ``allowed``."""
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or int(text) > most:
        raise NotAllowed(allowed)
    return int(text)
