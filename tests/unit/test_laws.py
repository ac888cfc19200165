"""The laws of the core (architecture, section 2) as properties, from any state of a node.

The second half tests the laws themselves: each wrong ``diff`` must break one of them.
"""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import Phase, given, settings

from kit import drift, facts, hostile, laws, pods
from kit.pods import key
from kit.strict_links import STATIC, Entry, Refused
from kit.strict_node import StrictNode
from ovnlet.core import plan
from ovnlet.core.errors import Taken
from ovnlet.core.plan import Plan, Step, Verb, diff
from ovnlet.core.resources import CompetingRoute, Network, Port

pytestmark = pytest.mark.uncovered


@pytest.mark.parametrize("law", laws.ALL, ids=lambda law: law.__name__)
@given(world=laws.worlds())
def test_law(law: laws.Law, world: laws.World) -> None:
    law(world, diff)


@given(world=laws.worlds(drifts=drift.ALL))
def test_what_is_in_the_way_is_reported_and_foreign_things_stay(world: laws.World) -> None:
    laws.reports_what_is_in_the_way(world, diff)


def test_a_foreign_route_that_hides_a_gateway_stays_until_its_owner_removes_it() -> None:
    ipv6 = {key("ip_address"): "fd00::5", key("cidr"): "fd00::/64"}
    text = hostile.GOOD | ipv6 | {key("gateway"): "fd00::105"}
    wanted = pods.network(text, hostile.NODE)
    node = StrictNode(pods.ATTACHMENT)
    laws.reconcile(node, pods.network(text | {key("gateway"): "fd00::1"}, hostile.NODE), diff)
    ((_, pod),) = node.pairs()
    route = Entry(ip_network("fd00::100/120"), ip_address("fd00::3"), None, STATIC, 510)
    node.kernel.add_route(pod, route)
    assert facts.hides_a_gateway(node, wanted)
    laws.reconcile(node, wanted, diff)
    assert route in pod.routes
    assert [str(step) for step in diff(wanted, node.observe(wanted))] == [
        "+ Route eth0 ::/0 via fd00::105 source fd00::5"
    ]
    node.kernel.delete_route(pod, route)
    laws.reconcile(node, wanted, diff)
    assert node.observe(wanted) == wanted


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
    """Plan by set arithmetic alone, as if nothing were deleted with the link that it lies on."""
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
    """Keep the row of a deleted link: OVN would count the new link as installed."""
    kept = {resource.key for resource in desired & observed if isinstance(resource, Port)}
    return tuple(step for step in diff(desired, observed) if step.resource.key not in kept)


def ignores_orphaned_rows(desired: Network, observed: Network) -> Plan:
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


def keeps_competing_routes(desired: Network, observed: Network) -> Plan:
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
    ignores_orphaned_rows,
    compares_keys_only,
    ensures_all_always,
    keeps_competing_routes,
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
