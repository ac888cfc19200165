"""Annotations: how they are parsed, what a wrong one is reported as, what an ADD waits for."""

import json
from ipaddress import ip_address, ip_interface

import pytest

from kit.pods import Text, key
from ovnlet.core import annotations
from ovnlet.core.allocation import Allocation, CustomRoute
from ovnlet.core.annotations import parse, relevant, wait_reason
from ovnlet.core.errors import Invalid, NotReady

DUAL = {
    key("ip_address"): "10.16.0.5,fd00::5",
    key("cidr"): "10.16.0.0/16,fd00::/64",
    key("gateway"): "10.16.0.1,fd00::1",
    key("mac_address"): "00:00:00:53:00:01",
    key("logical_switch"): "blue",
    key("allocated"): "true",
    key("routed"): "true",
}


def read(ifname: str = "eth0", /, **changes: str | None) -> Allocation:
    """Return what is parsed of the dual-stack pod with some annotations changed."""
    return parse(edited(**changes), "ovn", ifname)


def edited(text: Text | None = None, /, **changes: str | None) -> Text:
    """Return ``text``, by default the dual-stack pod, with changes; None removes an annotation."""
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


def test_a_secondary_interface_has_no_default_route_unless_annotated() -> None:
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
def test_a_wrong_required_annotation_is_refused(name: str, value: str | None) -> None:
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
def test_a_wrong_optional_annotation_is_a_problem(name: str, value: str) -> None:
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


def test_without_an_address_it_is_not_ready() -> None:
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
    waiting = wait_reason(edited(**changes), "ovn")
    assert waiting is None if reason is None else reason in str(waiting)


def test_another_provider_has_keys_of_its_own() -> None:
    text = {name.replace("ovn.", "net1.shop.ovn.", 1): value for name, value in DUAL.items()}
    assert parse(text, "net1.shop.ovn", "net1").addresses == read().addresses
    assert wait_reason(text, "ovn") is not None
    assert relevant({**text, **DUAL, "other": "x"}, "ovn") == DUAL


def test_a_static_pod_has_the_uid_of_its_mirror() -> None:
    assert annotations.runtime_uid("u1", {}) == "u1"
    assert annotations.runtime_uid("u1", {annotations.MIRROR_UID: "hash"}) == "hash"
