"""The laws of the core (architecture, section 2) as properties: from any state that a node can get into."""

import pytest
from hypothesis import given

from ovnlet.core.plan import diff
from unit import drift, laws


@pytest.mark.parametrize("law", laws.ALL, ids=lambda law: law.__name__)
@given(world=laws.worlds())
def test_law(law: laws.Law, world: laws.World) -> None:
    law(world, diff)


@given(world=laws.worlds(drifts=drift.ALL))
def test_what_is_left_is_said_and_what_is_foreign_is_untouched(world: laws.World) -> None:
    laws.says_what_is_left(world, diff)
