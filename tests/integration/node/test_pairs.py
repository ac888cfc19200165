"""Pairs of a burst, made together on the real kernel."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest

from integration.node.spaces import Bed, network
from ovnlet.core import ids
from ovnlet.core.errors import Taken, UnknownSandbox
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Veth


def _member(bed: Bed, name: str, netns: str) -> tuple[Attachment, list[Step]]:
    """Return an attachment of its own sandbox, and the step that makes its pair."""
    attachment = replace(bed.attachment, container_id=name, netns=netns)
    (veth,) = (each for each in network("10.16.0.5/16") if isinstance(each, Veth))
    host, alias = ids.host_link(name, "eth0"), ids.alias(name, "eth0")
    return attachment, [Step(Verb.ENSURE, replace(veth, host=host, alias=alias))]


async def test_the_first_makes_all_that_may_be(bed: Bed) -> None:
    """One whose row is not sent yet is left out; its own turn makes it."""
    first, second, third = (
        _member(bed, name, space.path)
        for name, space in (("a1", bed.pod), ("b2", bed.another("b")), ("c3", bed.another("c")))
    )
    pairs = bed.netlink.pairs
    with ExitStack() as stack:
        for each, may in ((first, True), (second, True), (third, False)):
            stack.enter_context(pairs.joined(*each, partial(bool, may)))
        await bed.netlink.apply(*first)
        assert bed.node.links() == {"a1_h", "b2_h"}
        for name in ("a1_h", "b2_h"):
            assert {"UP", "LOWER_UP"} <= set(bed.node.link(name)["flags"]), "both ends are up"
        made = bed.node.link("b2_h")["ifindex"]
        await bed.netlink.apply(*second)
        await bed.netlink.apply(*third)
    assert bed.node.link("b2_h")["ifindex"] == made, "it is not made again"
    assert bed.node.links() == {"a1_h", "b2_h", "c3_h"}
    for attachment, steps in (first, second, third):
        assert frozenset(step.resource for step in steps) <= bed.netlink.observe(
            attachment, frozenset(step.resource for step in steps)
        )


async def test_what_one_is_refused_concerns_no_other(bed: Bed) -> None:
    taken, gone = bed.another("taken"), _member(bed, "d4", "/run/netns/not-there")
    taken.ip("link", "add", "eth0", "type", "bridge")
    first, second = _member(bed, "a1", bed.pod.path), _member(bed, "b2", taken.path)
    with ExitStack() as stack:
        for each in (first, second, gone):
            stack.enter_context(bed.netlink.pairs.joined(*each, lambda: True))
        await bed.netlink.apply(*first)
        with pytest.raises(Taken, match="eth0 exists in the pod"):
            await bed.netlink.apply(*second)
        with pytest.raises(UnknownSandbox):
            await bed.netlink.apply(*gone)
    assert bed.node.links() == {"a1_h"}
    assert "LOWER_UP" in bed.node.link("a1_h")["flags"]


async def test_one_that_left_is_made_by_nobody(bed: Bed) -> None:
    """Its pass failed before its turn: a pair without a pass would stay."""
    first, second = _member(bed, "a1", bed.pod.path), _member(bed, "b2", bed.another("b").path)
    with bed.netlink.pairs.joined(*second, lambda: True):
        pass
    await bed.netlink.apply(*first)
    assert bed.node.links() == {"a1_h"}
