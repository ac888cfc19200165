"""Profiles of the property tests: the same examples in every run, or ``nightly`` many new ones.

And the marker `uncovered`.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from kit import measured

_SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.filter_too_much]

settings.register_profile(
    "steady",
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_SLOW_DRAWS,
)
settings.register_profile(
    "nightly", max_examples=2000, deadline=None, suppress_health_check=_SLOW_DRAWS
)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _uncovered(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.node.get_closest_marker("uncovered"):
        yield
        return
    with measured.paused():
        yield
