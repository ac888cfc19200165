"""The laws of the core (architecture, section 2) as properties: from any state that a node can get into.

The second half puts wrong differences to the same laws: a suite that lets one of them pass proves nothing.
"""

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings

from kit import drift, laws
from kit.strict_kernel import Refused
from ovnlet.core import plan
from ovnlet.core.errors import Taken
from ovnlet.core.plan import Plan, Step, Verb, diff
from ovnlet.core.resources import CompetingRoute, Network, Port


@pytest.mark.parametrize("law", laws.ALL, ids=lambda law: law.__name__)
@given(world=laws.worlds())
def test_law(law: laws.Law, world: laws.World) -> None:
    law(world, diff)


@given(world=laws.worlds(drifts=drift.ALL))
def test_what_is_left_is_said_and_what_is_foreign_is_untouched(world: laws.World) -> None:
    laws.says_what_is_left(world, diff)


def _split(steps: Plan) -> tuple[Plan, Plan]:
    removes = tuple(step for step in steps if step.verb is Verb.REMOVE)
    return removes, steps[len(removes) :]


def ensures_downwards(desired: Network, observed: Network) -> Plan:
    removes, ensures = _split(diff(desired, observed))
    return (*removes, *reversed(ensures))


def removes_upwards(desired: Network, observed: Network) -> Plan:
    removes, ensures = _split(diff(desired, observed))
    return (*reversed(removes), *ensures)


def ensures_first(desired: Network, observed: Network) -> Plan:
    removes, ensures = _split(diff(desired, observed))
    return (*ensures, *removes)


def never_removes(desired: Network, observed: Network) -> Plan:
    return _split(diff(desired, observed))[1]


def ignores_within(desired: Network, observed: Network) -> Plan:
    """Set arithmetic alone: as if nothing went with the link that it lies on."""
    wanted, present = (
        {resource.key: resource for resource in network} for network in (desired, observed)
    )
    removes = sorted(
        (r for key, r in present.items() if key not in wanted), key=plan._order, reverse=True
    )
    ensures = sorted((r for key, r in wanted.items() if present.get(key) != r), key=plan._order)
    return (
        *(Step(Verb.REMOVE, r) for r in removes),
        *(Step(Verb.ENSURE, r, present.get(r.key)) for r in ensures),
    )


def keeps_ports(desired: Network, observed: Network) -> Plan:
    """A new link under an old row: OVN would hold it for installed."""
    kept = {resource.key for resource in desired & observed if isinstance(resource, Port)}
    return tuple(step for step in diff(desired, observed) if step.resource.key not in kept)


def sees_no_orphans(desired: Network, observed: Network) -> Plan:
    return diff(
        desired,
        frozenset(replace(r, orphaned=False) if isinstance(r, Port) else r for r in observed),
    )


def compares_keys_only(desired: Network, observed: Network) -> Plan:
    return tuple(
        step for step in diff(desired, observed) if step.verb is Verb.REMOVE or step.was is None
    )


def ensures_all_always(desired: Network, observed: Network) -> Plan:
    removes, _ = _split(diff(desired, observed))
    return (
        *removes,
        *(Step(Verb.ENSURE, resource) for resource in sorted(desired, key=plan._order)),
    )


def lives_with_rivals(desired: Network, observed: Network) -> Plan:
    return tuple(
        step for step in diff(desired, observed) if not isinstance(step.resource, CompetingRoute)
    )


def forgets_the_last_step(desired: Network, observed: Network) -> Plan:
    return diff(desired, observed)[:-1]


WRONG = (
    ensures_downwards,
    removes_upwards,
    ensures_first,
    never_removes,
    ignores_within,
    keeps_ports,
    sees_no_orphans,
    compares_keys_only,
    ensures_all_always,
    lives_with_rivals,
    forgets_the_last_step,
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_the_laws_catch(wrong: laws.Diff) -> None:
    assert any(_broken(law, wrong) for law in laws.ALL)


def _broken(law: laws.Law, wrong: laws.Diff) -> bool:
    @settings(max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)
    @given(world=laws.worlds())
    def probe(world: laws.World) -> None:
        law(world, wrong)

    try:
        probe()
    except (AssertionError, Refused, Taken, KeyError):
        return True
    return False
