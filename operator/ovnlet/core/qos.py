"""What a pod may send and receive, and how its packets are impaired: texts to values.

Rates are bits of whole Ethernet frames per second, bursts are bits. Every hop can express a whole kbit/s: OVS' policing
counts in kbit, tc in bytes per second.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

MEGA = 1_000_000
_KILO = 1000
# HTB never goes below 1500 bytes a second; tc counts bursts in bytes of 32 bits, and in ticks of 64 ns of as many.
LEAST, MOST = 12_000, 1_000_000 * MEGA
_BURST = 32_000 * MEGA
# Seconds of the rate that a burst may last: as many as tc's ticks can count.
LONGEST = 270
_LATENCY, _PACKETS = 60_000, 1_000_000
_QUANTITY = re.compile(
    r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]?|[KMGTPE]i))"
)
_SUFFIX = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


class Wrong(ValueError):
    """The message says what is allowed instead."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Of one direction, the pod's own. ``burst`` is None where none is asked for."""

    rate: int
    burst: int | None = None

    @property
    def bucket(self) -> int:
        """Bits that may go at once: what was asked for, or what passes in 100 ms."""
        return min(self.rate // 10, _BURST) if self.burst is None else self.burst


@dataclass(frozen=True, slots=True)
class Impairment:
    """What netem does to packets on their way to the pod: times in microseconds, loss in millionths."""

    latency: int = 0
    jitter: int = 0
    limit: int = 0
    loss: int = 0


@dataclass(frozen=True, slots=True)
class Qos:
    ingress: Limit | None = None
    egress: Limit | None = None
    impairment: Impairment | None = None


@dataclass(frozen=True, slots=True)
class Rounded:
    """A value that is not used to the last digit, and the words for what is used."""

    value: int
    told: str = ""


def megabits(text: str) -> int:
    """A rate in whole Mbit/s as bit/s; 0 lifts a limit."""
    allowed = f"a whole number of Mbit/s up to {MOST // MEGA}; 0 for no limit"
    return _whole(text, MOST // MEGA, allowed) * MEGA


def burst(text: str) -> int:
    """A burst in whole Mbit as bits; 0 is as good as none given."""
    return (
        _whole(
            text,
            _BURST // MEGA,
            f"a whole number of Mbit up to {_BURST // MEGA}; 0 for the default",
        )
        * MEGA
    )


def quantity(text: str) -> Rounded:
    """A Kubernetes quantity of bit/s; a fraction of a kbit/s is left off, and told."""
    allowed = "a quantity of bits per second such as 500k, 10M or 1G, from 12k to 1T"
    found = _QUANTITY.fullmatch(text.removeprefix("+"))
    if found is None or len(text) > 40:
        raise Wrong(allowed)
    number, exponent, suffix = found.groups()
    exact = Decimal(number)
    if suffix and suffix.endswith("i"):
        exact *= Decimal(1024) ** (_SUFFIX[suffix[0].replace("K", "k")] // 3)
    else:
        exact = exact.scaleb(int(exponent) if exponent else _SUFFIX[suffix or ""])
    if not LEAST <= exact <= MOST:
        raise Wrong(allowed)
    rate = int(exact) // _KILO * _KILO
    return Rounded(
        rate, "" if rate == exact else f"{rate // _KILO}k is in force: only whole kbit/s can be set"
    )


def milliseconds(text: str) -> int:
    """Whole milliseconds as microseconds."""
    return (
        _whole(text, _LATENCY, f"a whole number of milliseconds up to {_LATENCY}; 0 for none")
        * 1000
    )


def packets(text: str) -> int:
    return _whole(text, _PACKETS, f"a whole number of packets up to {_PACKETS}; 0 for the default")


def percent(text: str) -> Rounded:
    """A share in per cent, fractions included, as millionths."""
    allowed = "a number of per cent from 0.0001 to 100, such as 0.5; 0 for none"
    try:
        exact = Decimal(text) * 10_000 if len(text) <= 40 else Decimal("NaN")
    except ArithmeticError:  # no number, or one like 1e999999 that Decimal cannot hold
        raise Wrong(allowed) from None
    if not exact.is_finite() or exact < 0 or exact > MEGA or 0 < exact < 1:
        raise Wrong(allowed)
    share = int(exact.to_integral_value())
    return Rounded(
        share, "" if share == exact else f"{shown(share)} is in force: four decimals can be set"
    )


def shown(share: int) -> str:
    """Millionths as per cent, as a person writes it."""
    return f"{Decimal(share) / 10_000:f}"


def _whole(text: str, most: int, allowed: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or int(text) > most:
        raise Wrong(allowed)
    return int(text)
