"""Annotations: what is read of them, whose fault a wrong one is, and what stays in force after an edit."""

import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import pods
from kit.pods import Text, key
from ovnlet.core import annotations
from ovnlet.core.allocation import Allocation, CustomRoute
from ovnlet.core.annotations import parse, relevant, wait_reason
from ovnlet.core.errors import Invalid, NotReady
from ovnlet.core.settled_annotations import settle, usable

DUAL = {
    key("ip_address"): "10.16.0.5,fd00::5",
    key("cidr"): "10.16.0.0/16,fd00::/64",
    key("gateway"): "10.16.0.1,fd00::1",
    key("mac_address"): "00:00:00:53:00:01",
    key("logical_switch"): "blue",
    key("allocated"): "true",
    key("routed"): "true",
}
FIXED = ("ip_address", "cidr", "mac_address", "logical_switch", "default_route")
LIVE = ("gateway", "routes")


def read(ifname: str = "eth0", /, **changes: str | None) -> Allocation:
    return parse(edited(**changes), "ovn", ifname)


def edited(text: Text | None = None, /, **changes: str | None) -> Text:
    merged = {**(text or DUAL), **{key(name): value for name, value in changes.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def test_a_dual_stack_pod() -> None:
    assert read() == Allocation(
        addresses=(ip_interface("10.16.0.5/16"), ip_interface("fd00::5/64")),
        mac="00:00:00:53:00:01",
        logical_switch="blue",
        gateways=(ip_address("10.16.0.1"), ip_address("fd00::1")),
        default_route=True,
    )


@pytest.mark.parametrize(
    ("meaning", "changes", "attribute", "value"),
    [
        ("a mask is ignored", {"ip_address": "10.16.0.5/24"}, "addresses", ("10.16.0.5/16",)),
        (
            "prefixes in any order",
            {"cidr": "fd00::/64,10.16.0.0/16"},
            "addresses",
            ("10.16.0.5/16", "fd00::5/64"),
        ),
        (
            "blanks and empty parts",
            {"ip_address": " 10.16.0.5 ,, "},
            "addresses",
            ("10.16.0.5/16",),
        ),
        ("a MAC in upper case", {"mac_address": "0A:00:00:00:00:FF"}, "mac", "0a:00:00:00:00:ff"),
        (
            "a gateway of a family the pod lacks",
            {"ip_address": "fd00::5"},
            "gateways",
            ("fd00::1",),
        ),
        ("no gateway", {"gateway": ""}, "gateways", ()),
        ("no default route", {"default_route": "false"}, "default_route", False),
        (
            "a route without dst",
            {"routes": '[{"gw":"10.16.0.9"}]'},
            "gateways",
            ("10.16.0.9", "fd00::1"),
        ),
        (
            "an empty dst",
            {"routes": '[{"dst":"","gw":"fd00::9"}]'},
            "gateways",
            ("fd00::9", "10.16.0.1"),
        ),
        (
            "a dst of all",
            {"routes": '[{"dst":"::/0","gw":"fd00::9"}]'},
            "gateways",
            ("fd00::9", "10.16.0.1"),
        ),
        (
            "host bits",
            {"routes": '[{"dst":"192.0.2.7/24","gw":"10.16.0.9"}]'},
            "routes",
            ("192.0.2.0/24 via 10.16.0.9",),
        ),
        (
            "unknown keys",
            {"routes": '[{"gw":"fd00::9","x":1}]'},
            "gateways",
            ("fd00::9", "10.16.0.1"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_is_read(meaning: str, changes: dict[str, str], attribute: str, value: object) -> None:
    found = getattr(read(**changes), attribute)
    assert (tuple(_short(part) for part in found) if isinstance(found, tuple) else found) == value


def _short(part: object) -> str:
    return f"{part.destination} via {part.via}" if isinstance(part, CustomRoute) else str(part)


def test_a_secondary_interface_has_no_default_route_unless_told() -> None:
    assert not read("net1").default_route
    assert read("net1", default_route="true").default_route


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ip_address", "10.16.0"),
        ("ip_address", "10.17.0.5"),
        ("ip_address", "10.16.0.5,10.16.0.6"),
        ("ip_address", "fd00::5%eth0"),
        ("ip_address", "0.0.0.0"),
        ("cidr", "10.16.0.0/33"),
        ("cidr", "0.0.0.0/0,::/0"),
        ("cidr", "fd00::%1/64"),
        ("mac_address", None),
        ("mac_address", "00:00:00:53:00"),
        ("mac_address", "01:00:00:53:00:01"),
        ("mac_address", "00:00:00:00:00:00"),
        ("default_route", "yes"),
    ],
)
def test_what_the_interface_cannot_do_without_is_refused(name: str, value: str | None) -> None:
    with pytest.raises(Invalid, match=f"annotation {key(name)} is ") as caught:
        read(**{name: value})
    assert caught.value.key == key(name)


def test_an_address_outside_a_missing_prefix_is_refused() -> None:
    with pytest.raises(Invalid, match="cidr, which is missing"):
        read(cidr=None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway", "10.17.0.1"),
        ("gateway", "10.16.0.5"),
        ("gateway", "here"),
        ("gateway", "fd00::1%eth0"),
        ("routes", "[{]"),
        ("routes", "{}"),
        ("routes", "[1]"),
        ("routes", '["gw"]'),
        ("routes", '[{"dst":"192.0.2.0/24"}]'),
        ("routes", '[{"dst":"192.0.2.0/24","gw":"fd00::1"}]'),
        ("routes", '[{"dst":"192.0.2.0/24","gw":"10.17.0.1"}]'),
        ("routes", '[{"dst":"2001:db8::/32","gw":"fd00::1\\u0025eth0"}]'),
        (
            "routes",
            '[{"dst":"192.0.2.0/24","gw":"10.16.0.1"},{"dst":"192.0.2.0/24","gw":"10.16.0.2"}]',
        ),
        (
            "routes",
            '[{"dst":"fd00::100/120","gw":"fd00::1"},{"dst":"2001:db8::/32","gw":"fd00::105"}]',
        ),
        ("routes", '[{"dst":"fd00::/80","gw":"fd00::1"}]'),
        (
            "routes",
            json.dumps(
                [{"dst": f"192.0.{n // 256}.{n % 256}/32", "gw": "10.16.0.1"} for n in range(257)]
            ),
        ),
        ("routes", "[" * 100_000),
        ("routes", "9" * 5000),
    ],
    ids=lambda value: value[:40] if value else "",
)
def test_what_it_can_do_without_becomes_a_problem(name: str, value: str) -> None:
    found = read(**{name: value})
    (problem,) = found.problems
    assert problem.key == key(name)
    assert str(problem).startswith(f"annotation {key(name)} is ")
    assert len(str(problem)) < 600
    assert not found.routes
    assert found.addresses == read().addresses


def test_ipv4_may_have_a_gateway_behind_another_route() -> None:
    text = '[{"dst":"10.16.5.0/24","gw":"10.16.0.1"},{"dst":"192.0.2.0/24","gw":"10.16.5.7"}]'
    assert not read(routes=text).problems


def test_without_an_address_it_is_time_that_must_pass() -> None:
    with pytest.raises(NotReady):
        read(ip_address=None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"ip_address": ""}, "no address yet"),
        ({"mac_address": None}, "no MAC yet"),
        ({"cidr": None}, "no prefix yet"),
        ({"allocated": None}, "allocated is not yet 'true'"),
        ({"routed": "false"}, "routed is not yet 'true'"),
    ],
)
def test_what_an_add_waits_for(changes: dict[str, str | None], reason: str | None) -> None:
    told = wait_reason(edited(**changes), "ovn")
    assert told is None if reason is None else reason in str(told)


def test_another_provider_has_keys_of_its_own() -> None:
    text = {name.replace("ovn.", "net1.shop.ovn.", 1): value for name, value in DUAL.items()}
    assert parse(text, "net1.shop.ovn", "net1").addresses == read().addresses
    assert wait_reason(text, "ovn") is not None
    assert relevant({**text, **DUAL, "other": "x"}, "ovn") == DUAL


def test_a_static_pod_has_the_uid_of_its_mirror() -> None:
    assert annotations.runtime_uid("u1", {}) == "u1"
    assert annotations.runtime_uid("u1", {annotations.MIRROR_UID: "hash"}) == "hash"


def test_an_edit_of_what_is_live_is_taken() -> None:
    now = edited(gateway="10.16.0.2,fd00::1", routes='[{"dst":"192.0.2.0/24","gw":"10.16.0.9"}]')
    assert settle(DUAL, now, "ovn", "eth0") == parse(now, "ovn", "eth0")
    assert usable(DUAL, now, "ovn", "eth0") == now


def test_an_edit_of_what_is_fixed_is_a_problem_and_no_change() -> None:
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


# Text that users and other programs may leave there: nearly right, or anything at all.
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
    told = {problem.key for problem in after.problems}
    assert {key(name) for name in FIXED if good.get(key(name)) != now.get(key(name))} <= told


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
