"""Every part of the agent, with a fault at each of its calls: it recovers. On a fake clock."""

import pytest

from kit.injection import FAULTS, Injection, recovers
from kit.parts import PARTS

pytestmark = [pytest.mark.review2, pytest.mark.looptime]
CALLS = [(part, nth) for part, (_, most) in PARTS.items() for nth in range(1, most + 1)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("part", "nth"), CALLS)
async def test_a_fault_at_any_call_ends_in_recovery(
    part: str, nth: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L5, L6: never 'process gone', never 'waits for ever'."""
    injection = Injection(fault, nth)
    await recovers(PARTS[part][0](injection, monkeypatch), injection)
