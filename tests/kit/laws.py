"""The five laws of the core (docs: architecture, section 2).

Each law is a function of a ``diff``, so that wrong ones can be tested too.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from kit import drift, facts, pods
from kit.strict_links import NODE, Refused
from kit.strict_node import StrictNode
from ovnlet.core.errors import Taken
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.plan import diff as real_diff
from ovnlet.core.resources import ABSENT, Address, Loopback, Network, Offload, Port, Sysctl, Veth

Diff = Callable[[Network, Network], Plan]
PASSES = 3


@dataclass(frozen=True, slots=True)
class Operation:
    """A foreign operation of form ``n``, or (None) a pass that is cut off after ``n`` steps."""

    drift: drift.Drift | None
    n: int

    def __repr__(self) -> str:
        return f"{self.drift.__name__ if self.drift else 'pass'}({self.n})"


@dataclass(frozen=True, slots=True)
class World:
    """A pod, what happens to its node before the law is tested, and where a pass is cut off."""

    edit: pods.Edit
    operations: tuple[Operation, ...]
    cut: int
    ipv6_off: bool = False

    def __repr__(self) -> str:
        """Show the plans instead of the values, to be readable."""
        asked = "; ".join(str(step) for step in real_diff(self.edit.before, ABSENT))
        edit = "; ".join(str(step) for step in real_diff(self.edit.after, self.edit.before))
        rest = f"{self.operations}, cut={self.cut}, ipv6_off={self.ipv6_off}"
        return f"World(\n  desired: {asked}\n  edit: {edit}\n  {rest})"

    def node(self, diff: Diff) -> StrictNode:
        """Return the node after all operations."""
        node = StrictNode(pods.ATTACHMENT)
        node.kernel.defaults["disable_ipv6"] = "1" if self.ipv6_off else "0"
        for operation in self.operations:
            if operation.drift:
                drift.perform(node, operation.drift, operation.n)
            else:
                with suppress(Taken):
                    run(node, diff(self.edit.before, node.observe(self.edit.before))[: operation.n])
        return node

    def open_node(self, diff: Diff) -> StrictNode:
        """Return the same, but reject examples where a foreign thing is in the way.

        Either it has one of our names, or it is a route that hides one of our gateways.
        """
        node = self.node(diff)
        assume(not node.taken())
        assume(not facts.hides_a_gateway(node, self.edit.after))
        return node


_WHOLE = (Operation(None, 99), Operation(drift.ovn, 0))
_BEGINNINGS = (
    (),
    _WHOLE[:1],
    _WHOLE,
    (*_WHOLE, Operation(drift.change_address, 1), Operation(drift.change_our_route, 1)),
    (*_WHOLE, Operation(drift.change_link, 9)),
    (*_WHOLE, Operation(drift.add_foreign_route, 2), Operation(drift.put_in_place_of_ours, 1)),
)


def worlds(
    *, drifts: tuple[drift.Drift, ...] = drift.WITH_OVN, limited: bool = True
) -> st.SearchStrategy[World]:
    """Draw worlds: mostly a complete network after some foreign operations, or half of one."""
    operations = st.one_of(
        st.builds(Operation, st.sampled_from(drifts), st.integers(0, 99)),
        st.builds(Operation, st.none(), st.sampled_from((1, 2, 3, 5, 8, 99))),
    )
    stories = st.builds(
        lambda first, rest: (*first, *rest),
        st.sampled_from(_BEGINNINGS),
        st.lists(operations, max_size=5),
    )
    return st.builds(World, pods.edits(limited), stories, st.integers(0, 20), st.booleans())


def run(node: StrictNode, plan: Plan) -> tuple[Step, ...]:
    """Run a pass up to the first refused step, as the drivers do. Return the steps made."""
    for count, step in enumerate(plan):
        try:
            node.apply(step)
        except Refused:
            return plan[:count]
    return plan


def reconcile(node: StrictNode, desired: Network, diff: Diff) -> tuple[Step, ...]:
    """Run as many passes as the law allows, then OVN. Return the steps made."""
    done: list[Step] = []
    for _ in range(PASSES):
        done += run(node, diff(desired, node.observe(desired)))
    node.ovn()
    return tuple(done)


def needs_nothing(world: World, diff: Diff) -> None:
    """Law 1: a network that is as desired needs no step."""
    node = world.open_node(diff)
    for network in (world.edit.after, node.observe(world.edit.after), ABSENT):
        assert diff(network, network) == ()


def converges(world: World, diff: Diff) -> None:
    """Law 2: from any state the plan is empty after three passes, and the ports are installed.

    `ovn-installed` then is of the present link, not of a deleted one.
    """
    node = world.open_node(diff)
    reconcile(node, world.edit.after, diff)
    assert node.observe(world.edit.after) == world.edit.after
    assert node.rows[node.host].installed == node.kernel.link(NODE, node.host).serial
    assert not [
        fact for fact in facts.foreign_within(node) if facts.competes(fact, world.edit.after)
    ]


def reports_what_is_in_the_way(world: World, diff: Diff) -> None:
    """Law 2, the rest: a foreign thing with one of our names is reported and not changed."""
    node = world.node(diff)
    before = facts.foreign(node)
    try:
        reconcile(node, world.edit.after, diff)
    except Taken:
        assert node.taken()
        assert before == facts.foreign(node)
    else:
        assert node.observe(world.edit.after) == world.edit.after


def leaves_nothing(world: World, diff: Diff) -> None:
    """Law 3: ABSENT leaves nothing of ours, and everything foreign."""
    node = world.open_node(diff)
    before = facts.foreign(node)
    reconcile(node, ABSENT, diff)
    assert node.inventory() - {("loopback", node.kernel.loopback_up)} == before


def keeps_foreign_things(world: World, diff: Diff) -> None:
    """Law 3, on the way: foreign things stay, unless they lie within a thing that is removed.

    Only a competing route is removed: one to a destination of ours that Linux may prefer.
    """
    node = world.open_node(diff)
    before = facts.foreign(node)
    foreign = {
        fact for fact in facts.foreign_within(node) if not facts.competes(fact, world.edit.after)
    }
    done = reconcile(node, world.edit.after, diff)
    assert facts.foreign(node) == facts.without_our_iface_id(before)
    removed = [step.resource for step in done if step.verb is Verb.REMOVE]
    ports = {resource.name for resource in removed if isinstance(resource, Port)}
    if not any(isinstance(resource, Address | Veth) for resource in removed):
        assert {fact for fact in foreign if fact[1] not in ports} <= facts.foreign_within(node)


def survives_a_crash(world: World, diff: Diff) -> None:
    """Law 4: a pass that was cut off after any step does not prevent convergence."""
    node = world.open_node(diff)
    run(node, diff(world.edit.after, node.observe(world.edit.after))[: world.cut])
    reconcile(node, world.edit.after, diff)
    assert node.observe(world.edit.after) == world.edit.after


def changes_something(world: World, diff: Diff) -> None:
    """Law 5: each step changes the node and none is refused.

    Except after the removal of an address, with which the kernel deletes routes.
    """
    node = world.open_node(diff)
    flushed = False
    for step in diff(world.edit.after, node.observe(world.edit.after)):
        before = node.inventory()
        try:
            node.apply(step)
        except Refused:
            assert flushed, f"refused: {step}"
            break
        assert _by_default(step) or node.inventory() != before, f"wasted: {step}"
        flushed |= step.verb is Verb.REMOVE and isinstance(step.resource, Address)


def needs_each_step(world: World, diff: Diff) -> None:
    """Law 5, the reverse: a plan without one of its steps has another result."""
    for desired in (world.edit.after, ABSENT):
        node = world.open_node(diff)
        plan = diff(desired, node.observe(desired))
        if not plan or any(
            step.verb is Verb.REMOVE and isinstance(step.resource, Address) for step in plan
        ):
            continue
        omitted = world.cut % len(plan)
        other = deepcopy(node)
        run(node, plan)
        run(other, plan[:omitted] + plan[omitted + 1 :])
        assert _by_default(plan[omitted]) or node.inventory() != other.inventory(), (
            f"needless: {plan[omitted]}"
        )


def is_idempotent(world: World, diff: Diff) -> None:
    """Law 5, the end: a second run has no step."""
    node = world.open_node(diff)
    reconcile(node, world.edit.after, diff)
    before = node.inventory()
    assert reconcile(node, world.edit.after, diff) == ()
    assert node.inventory() == before


Law = Callable[[World, Diff], None]
ALL: tuple[Law, ...] = (
    needs_nothing,
    converges,
    leaves_nothing,
    keeps_foreign_things,
    survives_a_crash,
    changes_something,
    needs_each_step,
    is_idempotent,
)


def _by_default(step: Step) -> bool:
    """Return whether a step writes a setting that was not observed before.

    A new link's settings depend on the namespace's defaults, so such a step may change nothing.
    """
    return step.was is None and isinstance(step.resource, Sysctl | Offload | Loopback)
