"""The five laws of the core, each a function of a ``diff``, so that wrong ones can be put to the test too."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from kit import drift, pods
from kit.strict_kernel import NODE, Entry, Refused
from kit.strict_node import StrictNode
from ovnlet.core import ids
from ovnlet.core.errors import Taken
from ovnlet.core.plan import Plan, Step, Verb
from ovnlet.core.plan import diff as real_diff
from ovnlet.core.resources import (
    ABSENT,
    Address,
    Loopback,
    Network,
    Offload,
    Port,
    Route,
    Sysctl,
    Veth,
)
from ovnlet.core.resources.netlink import PROTOCOL
from ovnlet.core.resources.ovs import OWNED_IDS

Diff = Callable[[Network, Network], Plan]
Facts = frozenset[tuple[object, ...]]
PASSES = 3


@dataclass(frozen=True, slots=True)
class Happening:
    """Something in the life of a node: a foreign operation, or a pass cut off after ``steps``."""

    drift: drift.Drift | None
    n: int

    def __repr__(self) -> str:
        return f"{self.drift.__name__ if self.drift else 'pass'}({self.n})"


@dataclass(frozen=True, slots=True)
class World:
    life: pods.Life
    happenings: tuple[Happening, ...]
    cut: int
    ipv6_off: bool = False

    def __repr__(self) -> str:
        """Readable: the steps that the life stands for, not the values."""
        asked = "; ".join(str(step) for step in real_diff(self.life.before, ABSENT))
        edit = "; ".join(str(step) for step in real_diff(self.life.after, self.life.before))
        return f"World(\n  asked: {asked}\n  edit: {edit}\n  {self.happenings}, cut={self.cut}, ipv6_off={self.ipv6_off})"

    def node(self, diff: Diff) -> StrictNode:
        """The state that all of it leads to."""
        node = StrictNode(pods.ATTACHMENT)
        node.kernel.defaults["disable_ipv6"] = "1" if self.ipv6_off else "0"
        for happening in self.happenings:
            if happening.drift:
                drift.happen(node, happening.drift, happening.n)
            else:
                with suppress(Taken):
                    run(node, diff(self.life.before, node.observe(self.life.before))[: happening.n])
        return node

    def open_node(self, diff: Diff) -> StrictNode:
        """The same, as long as nothing foreign stands in the way."""
        node = self.node(diff)
        assume(not node.taken())
        return node


_WHOLE = (Happening(None, 99), Happening(drift.ovn, 0))
_BEGINNINGS = (
    (),
    _WHOLE[:1],
    _WHOLE,
    (*_WHOLE, Happening(drift.change_address, 1), Happening(drift.change_our_route, 1)),
    (*_WHOLE, Happening(drift.change_link, 7)),
    (*_WHOLE, Happening(drift.add_foreign_route, 2), Happening(drift.put_in_place_of_ours, 1)),
)


def worlds(
    *, drifts: tuple[drift.Drift, ...] = drift.WITH_OVN, limited: bool = True
) -> st.SearchStrategy[World]:
    """Mostly a whole network with a few things done to it, sometimes half of one."""
    happenings = st.one_of(
        st.builds(Happening, st.sampled_from(drifts), st.integers(0, 99)),
        st.builds(Happening, st.none(), st.sampled_from((1, 2, 3, 5, 8, 99))),
    )
    stories = st.builds(
        lambda first, rest: (*first, *rest),
        st.sampled_from(_BEGINNINGS),
        st.lists(happenings, max_size=5),
    )
    return st.builds(World, pods.lives(limited), stories, st.integers(0, 20), st.booleans())


def run(node: StrictNode, plan: Plan) -> tuple[Step, ...]:
    """One pass as the drivers make it: up to the first refusal. Returns the steps that were made."""
    for count, step in enumerate(plan):
        try:
            node.apply(step)
        except Refused:
            return plan[:count]
    return plan


def reconcile(node: StrictNode, desired: Network, diff: Diff) -> tuple[Step, ...]:
    """As many passes as the law allows; the steps that were made."""
    done: list[Step] = []
    for _ in range(PASSES):
        done += run(node, diff(desired, node.observe(desired)))
    node.ovn()
    return tuple(done)


def nothing_to_do(world: World, diff: Diff) -> None:
    """Law 1: what is as it should be needs no step, whatever it is."""
    node = world.open_node(diff)
    for network in (world.life.after, node.observe(world.life.after), ABSENT):
        assert diff(network, network) == ()


def arrives(world: World, diff: Diff) -> None:
    """Law 2: from any state CHECK is empty after three passes, and OVN holds no dead link for installed."""
    node = world.open_node(diff)
    reconcile(node, world.life.after, diff)
    assert node.observe(world.life.after) == world.life.after
    assert node.rows[node.host].installed == node.kernel.link(NODE, node.host).born
    assert not [fact for fact in guests_of(node) if _competes(fact, world.life.after)]


def says_what_is_left(world: World, diff: Diff) -> None:
    """Law 2, the rest: where something foreign stands in the way that is said, and it stays as it is."""
    node = world.node(diff)
    before = others(node)
    try:
        reconcile(node, world.life.after, diff)
    except Taken:
        assert node.taken()
        assert before == others(node)
    else:
        assert node.observe(world.life.after) == world.life.after


def leaves_nothing(world: World, diff: Diff) -> None:
    """Law 3: ABSENT ends with nothing of ours and everything of others."""
    node = world.open_node(diff)
    before = others(node)
    reconcile(node, ABSENT, diff)
    assert others(node) == node.inventory() - _loopback(node) == before


def spares_others(world: World, diff: Diff) -> None:
    """Law 3, on the way: what others put beside and into ours stays, unless it lay within a removed thing.

    Their routes to the destinations of ours do not, where Linux may prefer them.
    """
    node = world.open_node(diff)
    before = others(node)
    guests = {fact for fact in guests_of(node) if not _competes(fact, world.life.after)}
    done = reconcile(node, world.life.after, diff)
    assert others(node) == without_claims(before)
    removed = [step.resource for step in done if step.verb is Verb.REMOVE]
    ports = {resource.name for resource in removed if isinstance(resource, Port)}
    if not any(isinstance(resource, Address | Veth) for resource in removed):
        assert {fact for fact in guests if fact[1] not in ports} <= guests_of(node)


def survives_a_crash(world: World, diff: Diff) -> None:
    """Law 4: cut off after any prefix of a plan, it arrives all the same."""
    node = world.open_node(diff)
    run(node, diff(world.life.after, node.observe(world.life.after))[: world.cut])
    reconcile(node, world.life.after, diff)
    assert node.observe(world.life.after) == world.life.after


def changes_something(world: World, diff: Diff) -> None:
    """Law 5: each step changes the node. None is refused, unless a removed address took routes along."""
    node = world.open_node(diff)
    flushed = False
    for step in diff(world.life.after, node.observe(world.life.after)):
        before = node.inventory()
        try:
            node.apply(step)
        except Refused:
            assert flushed, f"refused: {step}"
            break
        assert _by_default(step) or node.inventory() != before, f"wasted: {step}"
        flushed |= step.verb is Verb.REMOVE and isinstance(step.resource, Address)


def needs_each_step(world: World, diff: Diff) -> None:
    """Law 5, from the other side: without any one of its steps a plan leads elsewhere."""
    for desired in (world.life.after, ABSENT):
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


def rests(world: World, diff: Diff) -> None:
    """Law 5, the end: a second run has no step to make."""
    node = world.open_node(diff)
    reconcile(node, world.life.after, diff)
    before = node.inventory()
    assert reconcile(node, world.life.after, diff) == ()
    assert node.inventory() == before


Law = Callable[[World, Diff], None]
ALL: tuple[Law, ...] = (
    nothing_to_do,
    arrives,
    leaves_nothing,
    spares_others,
    survives_a_crash,
    changes_something,
    needs_each_step,
    rests,
)


def _by_default(step: Step) -> bool:
    """What a link is born with depends on the namespace's defaults, so a setting not seen before is always written."""
    return step.was is None and isinstance(step.resource, Sysctl | Offload | Loopback)


def others(node: StrictNode) -> Facts:
    """All that is neither ours nor within ours."""
    mine = {(link.netns, link.name) for pair in node.pairs() for link in pair}
    rows = {row.name for row in node.our_rows()}
    return frozenset(
        fact
        for fact in node.inventory() - _loopback(node)
        if not (fact[0] in {"link", "setting", "address", "route", "qdisc"} and fact[1:3] in mine)
        and not (fact[0] == "limit" and fact[1] == ids.mark(*node.attachment.key))
        and not (fact[0] == "plug" and fact[1] in rows)
        and not (fact[0] == "row" and fact[2] in rows)
        and not (fact[0] == "external_id" and fact[1] in rows)
    )


def _loopback(node: StrictNode) -> Facts:
    """The pod's `lo`: ours to set up, and nobody's to leave or to take along."""
    return frozenset({("loopback", node.kernel.loopback_up)})


def _competes(fact: tuple[object, ...], desired: Network) -> bool:
    """A guest's route to where one of ours leads, at its metric or a better one."""
    entry = fact[-1]
    if fact[0] != "route" or not isinstance(entry, Entry):
        return False
    ours = {resource.destination for resource in desired if isinstance(resource, Route)}
    return entry.destination in ours and entry.metric <= (
        512 if entry.destination.version == 6 else 0
    )


def without_claims(facts: Facts) -> Facts:
    """Without the one thing taken from a foreign row: its claim on our `iface-id`."""
    ours = ids.iface_id(pods.ATTACHMENT.namespace, pods.ATTACHMENT.pod, pods.ATTACHMENT.provider)
    return frozenset(fact for fact in facts if fact[2:] != ("iface-id", ours))


def guests_of(node: StrictNode) -> Facts:
    """What others put into ours: keys of the row, addresses and routes on the link, by the row's or link's name."""
    facts: set[tuple[object, ...]] = set()
    for _, pod in node.pairs():
        facts |= {("route", pod.born, entry) for entry in pod.routes if entry.protocol != PROTOCOL}
        facts |= {
            ("address", pod.born, held)
            for held in pod.addresses
            if held.protocol != PROTOCOL and str(held.ip.ip) not in ("10.16.0.5", "fd00::5")
        }
    for row in node.rows.values():
        facts |= {
            ("external_id", row.name, k, v)
            for k, v in row.external_ids.items()
            if k not in OWNED_IDS
        }
    return frozenset(facts)
