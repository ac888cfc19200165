"""The soak's own judgement: slopes with their bounds, tracebacks in a log."""

import random
from pathlib import Path

import pytest

from kit import tracebacks
from kit.slope import fit

TESTS = Path(__file__).parents[1]
LOG = """\
2026-01-01T00:00:00Z [error] a scope has failed
Traceback (most recent call last):
  File "/usr/local/lib/python3.13/dist-packages/ovnlet/drivers/host.py", line 4, in look
    raise
  File "/usr/lib/python3.13/socket.py", line 1, in connect
    ...
OSError: [Errno 24] Too many open files
2026-01-01T00:00:01Z [info] something else
  + Exception Group Traceback (most recent call last):
  |   File "/usr/local/lib/python3.13/dist-packages/ovnlet/agent/wiring.py", line 9, in run
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/usr/local/lib/python3.13/dist-packages/ovnlet/agent/node.py", line 9, in step
    |     do()
    | kube.errors.Gone: 410
    +------------------------------------
Traceback (most recent call last):
  File "/usr/lib/python3.13/asyncio/selector_events.py", line 178, in _accept_connection
    conn, addr = sock.accept()
OSError: [Errno 24] Too many open files
"""


def _line(
    slope: float, noise: float, *, seed: int = 1, start: float = 0.0
) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(start + n / 60, 80 + slope * n / 60 + rng.gauss(0, noise)) for n in range(60)]


def test_a_flat_figure_has_no_slope_within_its_bounds() -> None:
    found = fit([_line(0, 0.5)])
    assert found is not None
    assert found.low < 0 < found.high
    assert found.high - found.low < 2


def test_growth_is_found_under_noise() -> None:
    found = fit([_line(8, 0.5)])
    assert found is not None
    assert 6 < found.low < 8 < found.high < 10


def test_the_levels_of_two_processes_are_no_growth() -> None:
    other = [(time, value + 40) for time, value in _line(0, 0.5, seed=2, start=1.0)]
    found = fit([_line(0, 0.5), other])
    assert found is not None
    assert found.low < 0 < found.high


def test_a_walk_of_the_same_steps_has_wider_bounds_than_noise() -> None:
    rng, level, walk = random.Random(3), 0.0, []
    for time, _ in _line(0, 0):
        level += rng.gauss(0, 0.5)
        walk.append((time, level))
    noise, walked = fit([_line(0, 0.5)]), fit([walk])
    assert noise is not None
    assert walked is not None
    assert walked.high - walked.low > 5 * (noise.high - noise.low)


@pytest.mark.parametrize("lives", [[], [[(0.0, 1.0)]], [[(n / 60, 1.0) for n in range(5)]]])
def test_few_points_give_no_slope(lives: list[list[tuple[float, float]]]) -> None:
    assert fit(lives) is None


def test_a_constant_has_the_slope_0_exactly() -> None:
    found = fit([[(n / 60, 7.0) for n in range(20)]])
    assert found is not None
    assert (found.low, found.value, found.high) == (0, 0, 0)


def test_each_traceback_is_named_by_its_last_frame_of_ovnlet_or_its_last() -> None:
    names = [name for name, _ in tracebacks.tracebacks(LOG)]
    assert names == [
        "ovnlet/drivers/host.py look: OSError",
        "ovnlet/agent/wiring.py run: ExceptionGroup",
        "ovnlet/agent/node.py step: kube.errors.Gone",
        "asyncio/selector_events.py _accept_connection: OSError",
    ]


def test_every_known_traceback_has_a_test() -> None:
    for named in tracebacks.KNOWN.values():
        path, _, name = named.partition("::")
        assert f"def {name}(" in (TESTS / path).read_text(), named
