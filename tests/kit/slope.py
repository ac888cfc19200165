"""Whether a figure grows: the slope of a least-squares line, and how far it may be off.

A figure belongs to a life: a process, whose first figure says nothing about that of the next one.
All lives share one slope, and each has a level of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean

CONFIDENCE = 0.95
LEAST = 8  # points below which no slope is given

Life = Sequence[tuple[float, float]]  # points of time and value


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope and the bounds within which it is with a probability of `CONFIDENCE`."""

    value: float
    low: float
    high: float
    points: int


def fit(lives: Sequence[Life]) -> Slope | None:
    """Return the slope that the lives have in common, or None if there are too few points.

    Successive figures are not independent of each other: memory that is high is high at the next
    look too. The bounds are those of as many independent points as these are worth, by the
    correlation of neighbouring residuals.
    """
    used = [life for life in lives if len(life) > 1]
    points = sum(map(len, used))
    times = [time - fmean(each for each, _ in life) for life in used for time, _ in life]
    values = [value - fmean(each for _, each in life) for life in used for _, value in life]
    spread = sum(time * time for time in times)
    if points < LEAST + len(used) or not spread:
        return None
    slope = sum(time * value for time, value in zip(times, values, strict=True)) / spread
    residuals = [value - slope * time for time, value in zip(times, values, strict=True)]
    squares = sum(each * each for each in residuals)
    free = points - len(used) - 1
    worth = max(_worth(residuals) * free, 2.0)
    error = math.sqrt(squares / worth / spread)
    margin = _student(worth) * error
    return Slope(slope, slope - margin, slope + margin, points)


def _worth(residuals: Sequence[float]) -> float:
    """Return the share of the points that is independent, by an autoregression of order 1."""
    squares = sum(each * each for each in residuals)
    if not squares:
        return 1.0
    pairs = pairwise(residuals)
    correlation = min(max(sum(a * b for a, b in pairs) / squares, 0.0), 0.99)
    return (1 - correlation) / (1 + correlation)


def _student(free: float) -> float:
    """Return the quantile of Student's distribution, by the series of Cornish and Fisher."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first = (z**3 + z) / (4 * free)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return z + first + second
