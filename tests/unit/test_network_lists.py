"""The networks that a pod lists: all forms of the annotation, and the claim that each makes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ovnlet.core.errors import Invalid
from ovnlet.core.ipam import definitions, networks, subnets
from ovnlet.core.ipam.claims import Workload
from ovnlet.core.ipam.definitions import Definition
from ovnlet.core.ipam.networks import Selection, selections

N1, PAIR = "n1.default.ovn", [{"name": "n1", "interface": "a"}, {"name": "n1", "interface": "b"}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("n1", [("default", "n1")]),
        (" n1 , other/n2@net7,", [("default", "n1"), ("other", "n2", "net7")]),
        ('[{"name":"n1"}]', [("default", "n1")]),
        (
            '[{"name":"n1","namespace":"other","interface":"x","ips":["10.1.0.9/24","fd00::9"],'
            '"mac":"0a:00:00:00:00:09"}]',
            [("other", "n1", "x", ("10.1.0.9", "fd00::9"), "0a:00:00:00:00:09")],
        ),
        ("", []),
        ("[]", []),
    ],
)
def test_every_form_of_the_list(text: str, found: list[tuple[Any, ...]]) -> None:
    assert selections(text, "default") == tuple(Selection(*each) for each in found)


@pytest.mark.parametrize(
    "text",
    [
        "a/b/c",
        "n1@",
        "n1@a:b",
        "[{}]",
        '{"name":"n1"}',
        "[1]",
        "[",
        "n 1",
        "Ä",
        ",".join(["n"] * 65),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"k8s\.v1\.cni\.cncf\.io/networks"):
        selections(text, "default")


def defined(name: str = "n1", **config: Any) -> Definition:
    whole = {"type": "ovnlet", "provider": f"{name}.default.ovn", **config}
    return definitions.definition("default", name, "u", json.dumps(whole))


def pod(listed: object = "", default: str = "", **annotations: str) -> Workload:
    text = listed if isinstance(listed, str) else json.dumps(listed)
    full = {name.replace("__", "/"): value for name, value in annotations.items()}
    return Workload(
        "default", "web", "u1", "n0", annotations=full, networks=text, default_network=default
    )


def claimed(
    of: Workload, *definitions: Definition
) -> tuple[Mapping[str, Workload], tuple[tuple[str, str], ...]]:
    known = {each.owner: each for each in definitions}
    found = networks.claims(of, known.get)
    return found.by_provider, found.problems


def allocated(of: Workload, *providers: str) -> Workload:
    facts = {f"{each}.kubernetes.io/allocated": "true" for each in providers}
    return replace(of, annotations={**of.annotations, **facts})


def test_each_network_has_a_port_of_its_own() -> None:
    found, problems = claimed(pod("n1,n2"), defined(), defined("n2", type="kube-ovn"))
    assert [claim.port for claim in found.values()] == [
        "web.default",
        "web.default.n1.default.ovn",
        "web.default.n2.default.ovn",
    ]
    assert [claim.key[1] for claim in found.values()] == ["web", f"web/{N1}", "web/n2.default.ovn"]
    assert problems == ()


def test_a_network_twice_has_the_interfaces_in_its_providers() -> None:
    found, problems = claimed(pod(PAIR), defined())
    assert list(found) == ["ovn", f"{N1}.a", f"{N1}.b"]
    assert problems == ()


def test_a_network_twice_without_names_is_allocated_once_and_reported_k6() -> None:
    found, problems = claimed(pod("n1,n1"), defined())
    assert list(found) == ["ovn", N1]
    assert [reason for reason, _ in problems] == ["NetworkListedTwice"]


def test_a_network_added_a_second_time_leaves_the_first_as_it_is() -> None:
    running = allocated(pod(PAIR), N1)
    assert list(claimed(running, defined())[0]) == ["ovn", N1, f"{N1}.b"]
    assert list(claimed(allocated(running, f"{N1}.b"), defined())[0]) == ["ovn", N1, f"{N1}.b"]


def test_of_two_interfaces_the_one_that_stays_keeps_its_port() -> None:
    left = allocated(pod(PAIR[1:]), f"{N1}.a", f"{N1}.b")
    assert list(claimed(left, defined())[0]) == ["ovn", f"{N1}.b"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"type": "macvlan"}, None),
        ({"type": "macvlan", "ipam": {"type": "kube-ovn"}}, "NetworkNotServed"),
        ({"provider": "other.default.ovn"}, "NetworkNotServed"),
        ({"provider": ""}, "NetworkNotServed"),
    ],
)
def test_what_is_not_ours_or_cannot_be_done(config: dict[str, Any], reason: str | None) -> None:
    found, problems = claimed(pod("n1"), defined(**config))
    assert list(found) == ["ovn"]
    assert [each for each, _ in problems] == ([reason] if reason else [])


def test_an_unknown_network_is_reported() -> None:
    found, ((reason, message),) = claimed(pod("other/n9"))
    assert (list(found), reason) == (["ovn"], "NetworkUnknown")
    assert "other/n9" in message


def test_a_running_interface_keeps_its_claim_without_its_definition() -> None:
    """The definition may be deleted, and is not known yet just after a start."""
    assert list(claimed(allocated(pod("n1"), N1))[0]) == ["ovn", N1]


def test_a_running_interface_keeps_its_claim_in_a_list_that_is_broken() -> None:
    found, problems = claimed(allocated(pod("[n1"), N1))
    assert list(found) == [N1, "ovn"]
    assert [reason for reason, _ in problems] == ["InvalidAnnotation"]


def test_a_network_in_place_of_the_first() -> None:
    found, _ = claimed(pod("n2", "default/n1"), defined(), defined("n2"))
    assert list(found) == [N1, "n2.default.ovn"]
    assert list(claimed(pod("", "m1"), defined("m1", type="macvlan"))[0]) == ["ovn"]


def test_a_network_of_another_plugin_has_addresses_of_a_provider_without_ovn() -> None:
    lan = defined(type="macvlan", ipam={"type": "ovnlet", "provider": "n1.default"})
    found, problems = claimed(pod("n1"), lan)
    assert (list(found), problems) == (["ovn", "n1.default"], ())
    assert found["n1.default"].port == "web.default.n1.default"
    twice, _ = claimed(pod(PAIR), lan)
    assert list(twice) == ["ovn", "n1.default.a", "n1.default.b"]
    other = subnets.read("s", {"cidrBlock": "10.18.0.0/16", "provider": "n1.default"})
    chosen = [networks.subnet_for(each, [other]) for each in twice.values()]
    assert chosen == [None, other, other]
    assert list(claimed(allocated(pod("n1"), "n1.default"))[0]) == ["ovn", "n1.default"]
    assert list(claimed(pod("n2", "n1"), lan, defined("n2"))[0]) == ["n1.default", "n2.default.ovn"]


def test_an_interface_named_like_the_provider_of_ovn_is_refused() -> None:
    """Its annotations would be those of an interface that ovnlet makes."""
    lan = defined(type="macvlan", ipam={"type": "ovnlet", "provider": "n1.default"})
    named = [{"name": "n1", "interface": "ovn"}, {"name": "n1", "interface": "b"}]
    found, problems = claimed(pod(named), lan)
    assert list(found) == ["ovn", "n1.default.b"]
    assert [reason for reason, _ in problems] == ["NetworkNotServed"]


def test_a_network_in_place_of_the_first_and_listed_once_more_has_two_ports() -> None:
    """The second one took the first one's provider as soon as that had an allocation."""
    listed = [{"name": "n1", "interface": "net1"}]
    for of in (pod(listed, "n1"), allocated(pod(listed, "n1"), N1, f"{N1}.net1")):
        found, problems = claimed(of, defined())
        assert (list(found), problems) == ([N1, f"{N1}.net1"], ())


def test_a_list_of_plugins_with_ours_counts() -> None:
    config = json.dumps({"plugins": [{"type": "tuning"}, {"type": "ovnlet", "provider": N1}]})
    assert definitions.definition("default", "n1", "u", config).provider == N1
    assert definitions.definition("default", "n1", "u", "{").provider is None
    assert definitions.definition("default", "a.b", "u", config).why


def test_addresses_may_be_asked_for_in_the_list_and_by_interface_name() -> None:
    listed = [{"name": "n1", "interface": "a", "ips": ["10.1.0.9"], "mac": "0a:00:00:00:00:09"}]
    claim = claimed(pod(listed), defined())[0][N1]
    asked = claim.asked("ip_address"), claim.asked("mac_address"), claim.value("ip_address")
    assert asked == ("10.1.0.9", "0a:00:00:00:00:09", "")
    by_name = pod(listed, **{"n1.default.kubernetes.io__ip_address.a": "10.1.0.8"})
    assert claimed(by_name, defined())[0][N1].asked("ip_address") == "10.1.0.8"
    own = pod(listed, **{f"{N1}.kubernetes.io__ip_address": "10.1.0.7"})
    assert claimed(own, defined())[0][N1].asked("ip_address") == "10.1.0.7"


def test_the_subnet_of_a_network_is_the_one_with_its_provider() -> None:
    first = subnets.read("d", {"cidrBlock": "10.16.0.0/16", "default": True})
    second = subnets.read("s", {"cidrBlock": "10.17.0.0/16", "provider": N1, "default": True})
    assert subnets.clash(second, [first]) is None, "a default for each provider"
    found, _ = claimed(pod(PAIR), defined())
    chosen = [networks.subnet_for(claim, (second, first)) for claim in found.values()]
    assert chosen == [first, second, second]
    assert networks.subnet_for(found["ovn"], [second]) is None
    assert N1 in networks.no_subnet(found[f"{N1}.a"])
