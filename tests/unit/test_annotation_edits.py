"""Edits of annotations: which take effect, which are problems, and what stays in force."""

import json
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from kit import pods
from kit.pods import Text, key
from ovnlet.core.allocation import CustomRoute
from ovnlet.core.annotations import parse
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.settled_annotations import settle, usable
from unit.test_annotations import DUAL, edited, read

FIXED = ("ip_address", "cidr", "mac_address", "logical_switch", "default_route")
LIVE = ("gateway", "routes")


def test_an_edit_of_live_annotations_takes_effect() -> None:
    now = edited(gateway="10.16.0.2,fd00::1", routes='[{"dst":"192.0.2.0/24","gw":"10.16.0.9"}]')
    assert settle(DUAL, now, "ovn", "eth0") == parse(now, "ovn", "eth0")
    assert usable(DUAL, now, "ovn", "eth0") == now


def test_an_edit_of_fixed_annotations_is_a_problem_and_no_change() -> None:
    now = edited(ip_address="10.16.0.77", gateway="10.16.0.2,fd00::1")
    found = settle(DUAL, now, "ovn", "eth0")
    assert found.addresses == read().addresses
    assert found.gateways[0] == ip_address("10.16.0.2")
    (problem,) = found.problems
    assert "takes effect in a new pod" in str(problem)
    assert usable(DUAL, now, "ovn", "eth0") == edited(gateway="10.16.0.2,fd00::1")


def test_a_wrong_routes_keeps_the_last_good_one_with_its_default() -> None:
    good = edited(routes='[{"gw":"10.16.0.9"},{"dst":"192.0.2.0/24","gw":"10.16.0.9"}]')
    found = settle(good, edited(routes="nonsense"), "ovn", "eth0")
    assert found.gateways == (ip_address("10.16.0.9"), ip_address("fd00::1"))
    assert found.routes == (CustomRoute(ip_network("192.0.2.0/24"), ip_address("10.16.0.9")),)


def test_a_last_good_routes_that_a_new_gateway_does_not_fit_keeps_both() -> None:
    good = edited(routes='[{"dst":"fd00::100/120","gw":"fd00::1"}]')
    now = edited(gateway="10.16.0.1,fd00::105", routes="nonsense")
    assert usable(good, now, "ovn", "eth0") == good


# Values that users and other programs may write: nearly right, or anything at all.
_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
_ROUTES = st.lists(
    st.dictionaries(st.sampled_from(["dst", "gw"]), st.text(max_size=12) | st.integers()),
    max_size=3,
)
_JUNK = st.one_of(
    st.text(st.characters(), max_size=40),
    st.sampled_from(
        [
            "\ud800",
            "\x00",
            "9" * 5000,
            "[" * 2000,
            "[{}]",
            "null",
            "true",
            "10.16.0.5\n",
            "1e999",
            "%",
        ]
    ),
    (_JSON | _ROUTES).map(json.dumps),
)
_NEARLY = st.sampled_from(
    [*DUAL.values(), "10.16.0.2", "fd00::9", "10.16.0.0/24", '[{"gw":"10.16.0.9"}]']
)
_NAMES = st.sampled_from((*FIXED, *LIVE, "allocated", "routed"))
_EDITS = st.dictionaries(_NAMES, st.none() | _JUNK | _NEARLY, max_size=4)


@given(_EDITS)
def test_whatever_the_text_only_invalid_and_not_ready_are_raised(
    changes: dict[str, str | None],
) -> None:
    try:
        problems: tuple[Exception, ...] = read(**changes).problems
    except (Invalid, NotReady) as error:
        problems = (error,)
    assert all(str(problem).isprintable() for problem in problems)


@st.composite
def _edits_of_a_good_pod(draw: st.DrawFn) -> tuple[Text, Text]:
    fixed = draw(pods.fixed())
    good = usable(None, fixed | draw(pods.live(fixed)), "ovn", "eth0")
    changed = draw(
        st.one_of(
            _EDITS,
            pods.live(fixed).map(lambda live: {n.partition("/")[2]: v for n, v in live.items()}),
        )
    )
    return good, edited(good, **changed)


@given(_edits_of_a_good_pod())
def test_whatever_the_edit_what_is_fixed_stays(pair: tuple[Text, Text]) -> None:
    good, now = pair
    before, after = parse(good, "ovn", "eth0"), settle(good, now, "ovn", "eth0")
    for name in ("addresses", "mac", "logical_switch", "default_route"):
        assert getattr(after, name) == getattr(before, name)
    reported = {problem.key for problem in after.problems}
    assert {key(name) for name in FIXED if good.get(key(name)) != now.get(key(name))} <= reported


@given(_edits_of_a_good_pod())
def test_what_is_usable_is_in_force_without_a_problem_and_stays_so(pair: tuple[Text, Text]) -> None:
    good, now = pair
    kept = usable(good, now, "ovn", "eth0")
    in_force = settle(good, now, "ovn", "eth0")
    remembered = parse(kept, "ovn", "eth0")
    assert not remembered.problems
    assert (remembered.gateways, remembered.routes) == (in_force.gateways, in_force.routes)
    assert usable(kept, now, "ovn", "eth0") == kept
    assert usable(kept, kept, "ovn", "eth0") == kept
