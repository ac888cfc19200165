"""How limits are enforced: policing and shaping, bursts, and kernels that lack a part."""

from dataclasses import replace

import pytest
from hypothesis import given

from kit.pods import Text, key
from ovnlet.core import shaping
from ovnlet.core.qos import Qos
from ovnlet.core.resources import (
    HtbQdisc,
    LeafQdisc,
    OvsPolicing,
    OvsQos,
    PoliceFilter,
    Resource,
    TbfQdisc,
)
from unit.test_qos import EGRESS, INGRESS, MBIT, NODE, TEXTS, read, resources


@given(TEXTS)
def test_policing_passes_what_the_shaper_passes(text: Text) -> None:
    found = resources(text)
    policing, shaper = found.get(OvsPolicing), found.get(TbfQdisc)
    if isinstance(policing, OvsPolicing) and isinstance(shaper, TbfQdisc):
        assert policing.rate * 1000 == shaper.rate
        assert policing.burst * 1000 >= shaper.burst


def test_a_bucket_holds_the_largest_packet() -> None:
    small = resources({EGRESS: "12k", INGRESS: "12k"}, replace(NODE, mtu=9000))
    assert isinstance(shaper := small[TbfQdisc], TbfQdisc)
    assert isinstance(shaped := small[OvsQos], OvsQos)
    assert shaper.burst == shaped.burst >= 8 * 9018


@pytest.mark.parametrize(
    ("lacks", "types", "unenforced"),
    [
        ((), {OvsQos, HtbQdisc, OvsPolicing, TbfQdisc, LeafQdisc}, []),
        (("police",), {OvsQos, HtbQdisc, OvsPolicing, TbfQdisc, LeafQdisc}, []),
        (("netem",), {OvsQos, HtbQdisc, OvsPolicing, TbfQdisc, LeafQdisc}, ["latency"]),
        (("htb", "netem"), {OvsQos, OvsPolicing, TbfQdisc}, ["ingress rate", "latency"]),
        (("tbf",), {OvsQos, HtbQdisc, OvsPolicing, LeafQdisc}, ["egress rate"]),
    ],
)
def test_what_the_kernel_lacks_is_reported_and_not_desired(
    lacks: tuple[str, ...], types: set[type[Resource]], unenforced: list[str]
) -> None:
    text = {key("ingress_rate"): "5", key("egress_rate"): "5", key("latency"): "10"}
    node = replace(NODE, lacks=frozenset(lacks))
    assert set(resources(text, node)) == types
    words = list(shaping.unenforced(read(text), node, "a_h"))
    assert [line.partition(" not")[0].partition(",")[0] for line in words] == unenforced
    assert all("kernel has no sch_" in line for line in words)
    assert list(shaping.unenforced(Qos(), node, "a_h")) == []


@pytest.mark.parametrize(
    ("lacks", "enforcing"),
    [
        ((), {TbfQdisc, PoliceFilter}),
        (("police",), {TbfQdisc}),
        (("tbf",), {PoliceFilter}),
        (("police", "tbf"), set()),
    ],
)
def test_with_the_kernel_datapath_there_is_a_police_filter_too(
    lacks: tuple[str, ...], enforcing: set[type[Resource]]
) -> None:
    """One of the two is enough; only without both a rate is not enforced."""
    node, text = replace(NODE, userspace=False, lacks=frozenset(lacks)), {key("egress_rate"): "5"}
    found = resources(text, node)
    assert set(found) == {OvsPolicing, *enforcing}
    assert {each.rate for each in found.values() if isinstance(each, TbfQdisc | PoliceFilter)} <= {
        5 * MBIT
    }
    assert bool(list(shaping.unenforced(read(text), node, "a_h"))) == (not enforcing)
