"""Bandwidth limits: how their annotations are parsed, and that every hop keeps the value."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import pods
from kit.pods import Text, key
from ovnlet.core import annotations, desired, qos
from ovnlet.core.annotations import parse
from ovnlet.core.identity import Node
from ovnlet.core.qos import Impairment, Limit, NotAllowed, Qos
from ovnlet.core.resources import (
    HtbQdisc,
    LeafQdisc,
    OvsPolicing,
    OvsQos,
    PoliceFilter,
    Resource,
    TbfQdisc,
)
from ovnlet.core.settled_annotations import settle, usable
from ovnlet.drivers.links import traffic_control
from ovnlet.drivers.linux import tc
from ovnlet.drivers.ovs import qos_rows
from unit.test_annotations import DUAL

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
NODE = Node("br-int", 1400, userspace=True)
MBIT = 1_000_000


def read(text: Text, provider: str = "ovn") -> Qos:
    """Return the limits that are parsed of the dual-stack pod with more annotations."""
    return parse(DUAL | text, provider, "eth0").qos


def resources(text: Text, node: Node = NODE) -> dict[type[Resource], Resource]:
    """Return the desired resources of limits, by their type."""
    network = desired.network(pods.ATTACHMENT, parse(DUAL | text, "ovn", "eth0"), node)
    types = (OvsQos, OvsPolicing, HtbQdisc, PoliceFilter, TbfQdisc, LeafQdisc)
    return {type(each): each for each in network if isinstance(each, types)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ({}, Qos()),
        ({key("ingress_rate"): "", key("latency"): " "}, Qos()),
        ({key("ingress_rate"): "0", key("egress_burst"): "5"}, Qos()),
        ({key("ingress_rate"): "5"}, Qos(ingress=Limit(5 * MBIT))),
        (
            {key("egress_rate"): "5", key("egress_burst"): "2"},
            Qos(egress=Limit(5 * MBIT, 2 * MBIT)),
        ),
        ({key("egress_rate"): "5", key("egress_burst"): "0"}, Qos(egress=Limit(5 * MBIT))),
        ({INGRESS: "10M", EGRESS: "500k"}, Qos(Limit(10 * MBIT), Limit(500_000))),
        ({INGRESS: "1Mi"}, Qos(Limit(1_048_000))),
        ({INGRESS: "12e3", EGRESS: ".5G"}, Qos(Limit(12_000), Limit(500 * MBIT))),
        ({INGRESS: "10M", key("ingress_rate"): "5"}, Qos(Limit(5 * MBIT))),
        ({INGRESS: "10M", key("ingress_rate"): "0"}, Qos()),
        ({INGRESS: "10M", key("ingress_rate"): "five"}, Qos(Limit(10 * MBIT))),
        ({INGRESS: "10M", key("ingress_burst"): "3"}, Qos(Limit(10 * MBIT, 3 * MBIT))),
        ({key("latency"): "10", key("jitter"): "2"}, Qos(impairment=Impairment(10_000, 2_000))),
        (
            {key("loss"): "0.5", key("limit"): "50"},
            Qos(impairment=Impairment(limit=50, loss=5_000)),
        ),
        ({key("loss"): "0"}, Qos()),
    ],
)
def test_what_is_read(text: Text, found: Qos) -> None:
    assert read(text) == found


def test_only_the_first_interface_uses_the_bandwidth_of_kubernetes() -> None:
    text = {
        annotations.key("net1.shop.ovn", name.partition("/")[2]): value
        for name, value in DUAL.items()
    }
    assert parse(text | {INGRESS: "10M"}, "net1.shop.ovn", "net1").qos == Qos()


WRONG = [
    *(
        (key(f"{way}_{what}"), bad)
        for way in ("ingress", "egress")
        for what in ("rate", "burst")
        for bad in ("-1", "1.5")
    ),
    *((key("ingress_rate"), bad) for bad in ("5M", "1000001", "٣", "9" * 5000, "x" * 70_000)),
    *(
        (name, bad)
        for name in (INGRESS, EGRESS)
        for bad in ("0", "100m", "11999", "2T", "5K", "M", "1e99", "-1M", "1 M")
    ),
    *(
        (key(name), bad)
        for name in ("latency", "jitter", "limit")
        for bad in ("-1", "0.5", "5ms", "9999999")
    ),
    *(
        (key("loss"), bad)
        for bad in ("-0.1", "100.1", "0.00001", "NaN", "Infinity", "1%", "1" * 50)
    ),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda text: text.rpartition("/")[2][:20])
def test_a_wrong_value_is_reported_and_the_last_good_one_stays(name: str, value: str) -> None:
    good = {
        INGRESS: "7M",
        EGRESS: "7M",
        **{key(each): "7" for each in ("ingress_burst", "latency", "jitter", "limit")},
    }
    before = annotations.relevant(DUAL | good | {key("loss"): "7"}, "ovn")
    now = before | {name: value}
    (problem,) = parse(now, "ovn", "eth0").problems
    assert (problem.key, problem.value) == (name, value)
    assert name in str(problem)
    assert len(str(problem)) < 600
    assert settle(before, now, "ovn", "eth0").qos == parse(before, "ovn", "eth0").qos
    assert usable(before, now, "ovn", "eth0") == before
    assert name not in usable(None, DUAL | {name: value}, "ovn", "eth0")


def test_a_burst_that_lasts_longer_than_can_be_counted_is_refused() -> None:
    found = parse(DUAL | {key("egress_rate"): "1", key("egress_burst"): "271"}, "ovn", "eth0")
    assert [problem.key for problem in found.problems] == [key("egress_burst")]
    assert found.qos == Qos(egress=Limit(MBIT))


def test_rounding_is_reported() -> None:
    found = parse(DUAL | {INGRESS: "1000500", key("loss"): "0.123456"}, "ovn", "eth0")
    assert found.problems == ()
    assert found.qos == Qos(Limit(1_000_000), impairment=Impairment(loss=1235))
    assert [notice.partition(":")[2].strip() for notice in found.notices] == [
        "1000k is in force: only whole kbit/s can be set",
        "0.1235 is in force: four decimals can be set",
    ]


@given(
    st.text(max_size=12)
    | st.from_regex(
        r"[0-9]{1,4}(\.[0-9]{1,2})?([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?", fullmatch=True
    )
)
def test_every_quantity_is_a_rate_or_a_named_error(text: str) -> None:
    try:
        found = qos.quantity(text)
    except NotAllowed:
        pass
    else:
        assert qos.LEAST <= found.value <= qos.MOST
        assert found.value % 1000 == 0


@given(st.text(max_size=8) | st.decimals(-1, 101, places=6).map(str))
def test_every_percentage_is_a_share_or_a_named_error(text: str) -> None:
    try:
        found = qos.percent(text)
    except NotAllowed:
        return
    assert abs(Decimal(found.value) / 10_000 - Decimal(text)) <= Decimal("0.00005")
    assert (found.value == 0) == (Decimal(text) == 0)


_RATES = st.integers(1, qos.MOST // MBIT)
TEXTS = st.fixed_dictionaries(
    {},
    optional={
        key("ingress_rate"): _RATES.map(str),
        key("egress_rate"): _RATES.map(str),
        key("ingress_burst"): st.integers(1, 32_000).map(str),
        key("egress_burst"): st.integers(1, 32_000).map(str),
        key("latency"): st.integers(0, 60_000).map(str),
        key("jitter"): st.integers(0, 60_000).map(str),
        key("limit"): st.integers(0, qos.MEGA).map(str),
        key("loss"): st.decimals(0, 100, places=4).map(str),
        INGRESS: st.integers(12, qos.MOST // 1000).map(lambda kbit: f"{kbit}k"),
        EGRESS: st.integers(12, qos.MOST // 1000).map(lambda kbit: f"{kbit}k"),
    },
)


@given(TEXTS)
def test_rows_and_messages_keep_every_value(text: Text) -> None:
    """Written to rows and netlink messages and read back, each limit is the same."""
    wanted, found = read(text), resources(text)
    assert {
        problem.key.rpartition("_")[2] for problem in parse(DUAL | text, "ovn", "eth0").problems
    } <= {"burst"}
    if isinstance(shaped := found.get(OvsQos), OvsQos):
        assert qos_rows.value(shaped.port, shaped.name, *qos_rows.columns(shaped)) == shaped
        assert shaped.rate == (wanted.ingress.rate if wanted.ingress else None)
    if isinstance(shaper := found.get(TbfQdisc), TbfQdisc):
        sent = tc.entry(traffic_control.put_shaper(7, shaper).body)
        assert traffic_control.shaper(sent, shaper.veth, shaper.pod, shaper) == shaper
        assert wanted.egress
        assert shaper.rate == wanted.egress.rate
    if isinstance(netem := found.get(LeafQdisc), LeafQdisc) and wanted.impairment:
        sent = tc.entry(traffic_control.put_leaf(7, netem).body)
        assert traffic_control.netem(sent, netem.veth, netem.host) == netem
    assert set(found) == {
        *((OvsQos, HtbQdisc, LeafQdisc) if wanted.ingress or wanted.impairment else ()),
        *((OvsPolicing, TbfQdisc) if wanted.egress else ()),
    }


# Anything that somebody may write: numbers that are nearly right, and other text.
_ANYTHING = st.text(max_size=12) | st.from_regex(
    r"[ +-]?[0-9]{0,20}(\.[0-9]{0,6})?([eE][0-9]{1,3})?[a-zA-Z%]{0,2}"
)
_READ: dict[str, Callable[[Qos], object]] = {
    key("ingress_rate"): lambda found: found.ingress and found.ingress.rate,
    key("egress_rate"): lambda found: found.egress and found.egress.rate,
    key("latency"): lambda found: found.impairment and found.impairment.latency,
    key("jitter"): lambda found: found.impairment and found.impairment.jitter,
    key("limit"): lambda found: found.impairment and found.impairment.limit,
    key("loss"): lambda found: found.impairment and found.impairment.loss,
    INGRESS: lambda found: found.ingress and found.ingress.rate,
    EGRESS: lambda found: found.egress and found.egress.rate,
}
_BURSTS = {key("ingress_burst"): key("ingress_rate"), key("egress_burst"): key("egress_rate")}


@given(st.sampled_from(sorted({*_READ, *_BURSTS})), _ANYTHING)
def test_any_value_of_any_key_is_in_force_as_written_or_named_in_an_error(
    name: str, value: str
) -> None:
    """Never both, never neither. What is in force is the written number, or a reported rounding."""
    beside = {_BURSTS[name]: "1000"} if name in _BURSTS else {}
    found = parse(DUAL | beside | {name: value}, "ovn", "eth0")
    problems = [(problem.key, problem.value) for problem in found.problems]
    if problems:
        assert problems == [(name, value)]
        assert found.qos == read(beside)
        return
    resources(beside | {name: value})  # no hop refuses it
    if not value.strip():
        assert found.qos == read(beside)
    elif name in _BURSTS:
        limit = found.qos.ingress or found.qos.egress
        assert limit
        assert (limit.burst or 0) == Decimal(value.strip()) * MBIT
    elif name in (INGRESS, EGRESS):
        assert abs(_exact(value.strip()) - (_READ[name](found.qos) or 0)) < 1000  # type: ignore[operator]
        assert bool(found.notices) == (_exact(value.strip()) != _READ[name](found.qos))
    else:
        unit = {"rate": MBIT, "latency": 1000, "jitter": 1000, "limit": 1, "loss": 10_000}[
            name.rpartition("_")[2].rpartition("/")[2]
        ]
        written = Decimal(value.strip()) * unit
        assert (_READ[name](found.qos) or 0) == written.to_integral_value()
        assert bool(found.notices) == (written != written.to_integral_value())


def _exact(quantity: str) -> Decimal:
    """Return a quantity as Kubernetes reads it: with an exponent, or a decimal or binary suffix."""
    found = re.fullmatch(r"\+?([0-9.]+)(?:[eE]([+-]?[0-9]+)|([a-zA-Z]*))", quantity)
    assert found
    number, exponent, suffix = found.groups()
    if suffix and suffix.endswith("i"):
        return Decimal(number) * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    tens = int(exponent) if exponent else {"": 0, "n": -9, "u": -6, "m": -3}.get(suffix or "", 0)
    tens = (
        tens
        if exponent or suffix in (None, "", "n", "u", "m")
        else 3 * ("kMGTPE".index(suffix) + 1)
    )
    return Decimal(number).scaleb(tens)
