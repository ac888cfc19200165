"""Services and EndpointSlices as the API returns them, and the load balancers made of them."""

from typing import Any

import pytest

from kit.recorded import endpoint as at
from kit.recorded import endpoint_slice as a_slice
from kit.recorded import service as a_service
from ovnlet.core import services
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, LoadBalancer
from ovnlet.kube.services import endpoint_slice, service

Body = dict[str, Any]


HTTP: Body = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}
THEIRS: Body = {"name": "http", "protocol": "TCP", "port": 8080}


def made(body: Body, *slices: Body) -> dict[str, LoadBalancer]:
    """Return the load balancers by protocol."""
    found = service(body)
    assert found is not None
    read = [each for each in map(endpoint_slice, slices) if each is not None]
    rows = services.balancers(found, read)
    return {row.protocol: row for row in rows if isinstance(row, LoadBalancer)}


def vips(body: Body, *slices: Body, protocol: str = "tcp") -> dict[str, str]:
    return dict(made(body, *slices)[protocol].vips)


def noticed(body: Body, *slices: Body) -> dict[str, tuple[str, str]]:
    found = service(body)
    assert found is not None
    read = [each for each in map(endpoint_slice, slices) if each is not None]
    return {n.reason: (n.kind, n.message) for n in services.notices(found, read)}


def test_a_load_balancer_names_its_service_and_refuses_without_endpoints() -> None:
    (row,) = made(a_service(HTTP)).values()
    assert row == LoadBalancer(
        "ovnlet/shop/web/tcp",
        "tcp",
        frozenset({("10.96.0.7:80", "")}),
        frozenset({("reject", "true")}),
        frozenset({("ovnlet", "service"), ("ovnlet-service", "shop/web")}),
    )
    assert row.service == "shop/web"


def test_each_family_leads_to_its_own_endpoints() -> None:
    body = a_service(HTTP, clusterIPs=["fd00:10:96::7", "10.96.0.7"])
    four = a_slice(at("10.16.0.5"), at("10.16.0.4"), ports=[THEIRS])
    six = a_slice(at("fd00:10:16::4"), ports=[THEIRS], family="IPv6", name="web-6")
    assert vips(body, four, six) == {
        "10.96.0.7:80": "10.16.0.4:8080,10.16.0.5:8080",
        "[fd00:10:96::7]:80": "[fd00:10:16::4]:8080",
    }


def test_addresses_are_sorted_as_numbers_so_that_equal_endpoints_are_equal_rows() -> None:
    endpoints = [at(f"10.16.0.{number}") for number in (10, 9, 100)]
    first = vips(a_service(HTTP), a_slice(*endpoints, ports=[THEIRS]))
    parts = [a_slice(each, ports=[THEIRS], name=f"web-{n}") for n, each in enumerate(endpoints)]
    assert first == vips(a_service(HTTP), *reversed(parts), parts[0])
    assert first["10.96.0.7:80"] == "10.16.0.9:8080,10.16.0.10:8080,10.16.0.100:8080"


def test_a_service_has_a_load_balancer_for_each_protocol() -> None:
    dns = [{"name": name, "protocol": name.upper(), "port": 53} for name in ("tcp", "udp", "sctp")]
    found = made(a_service(*dns, HTTP), a_slice(at("10.16.0.4"), ports=dns))
    assert {name: dict(row.vips) for name, row in found.items()} == {
        "tcp": {"10.96.0.7:53": "10.16.0.4:53", "10.96.0.7:80": ""},
        "udp": {"10.96.0.7:53": "10.16.0.4:53"},
        "sctp": {"10.96.0.7:53": "10.16.0.4:53"},
    }
    assert dict(found["udp"].options) == {"reject": "true", "ct_flush": "true"}
    assert dict(found["sctp"].options) == {"reject": "true"}


def test_a_named_target_port_may_differ_between_the_endpoints() -> None:
    """The slices resolve it: pods of two versions can give one name to two numbers."""
    old = a_slice(at("10.16.0.4"), ports=[THEIRS])
    new = a_slice(at("10.16.0.5"), ports=[THEIRS | {"port": 8443}], name="web-2")
    assert vips(a_service(HTTP), old, new) == {"10.96.0.7:80": "10.16.0.4:8080,10.16.0.5:8443"}


def test_ports_are_joined_by_name_and_protocol() -> None:
    unnamed = {"port": 80}  # the API allows no name for a single port, and TCP is its default
    body = a_service(unnamed)
    assert vips(body, a_slice(at("10.16.0.4"), ports=[{"port": 8080}])) == {
        "10.96.0.7:80": "10.16.0.4:8080"
    }
    others = [THEIRS, {"name": "", "protocol": "UDP", "port": 9}, {"name": "", "port": None}]
    assert vips(body, a_slice(at("10.16.0.4"), ports=others)) == {"10.96.0.7:80": ""}


@pytest.mark.parametrize(
    ("endpoints", "used"),
    [
        ([at("10.16.0.4", ready=True), at("10.16.0.5", ready=False)], "4"),
        ([at("10.16.0.4"), {"addresses": ["10.16.0.5"]}], "45"),
        # Without a ready endpoint, those that end but still answer are used.
        ([at("10.16.0.4", ready=False, serving=True, terminating=True)], "4"),
        ([at("10.16.0.4", ready=False, serving=True, terminating=True), at("10.16.0.5")], "5"),
        ([at("10.16.0.4", ready=False, serving=False, terminating=True)], ""),
        # Not ready, and not ending: a pod whose readiness probe fails.
        ([at("10.16.0.4", ready=False, serving=True, terminating=False)], ""),
        # An older API server drops `serving`: it then counts as `ready`.
        ([at("10.16.0.4", ready=False, terminating=True)], ""),
        ([at("10.16.0.4", ready=None, serving=None, terminating=None)], "4"),
        # publishNotReadyAddresses: the API server's controller marks every address as ready.
        ([at("10.16.0.4", ready=True, serving=False, terminating=True)], "4"),
    ],
)
def test_which_endpoints_are_used(endpoints: list[Body], used: str) -> None:
    expected = ",".join(f"10.16.0.{each}:8080" for each in used)
    found = vips(a_service(HTTP), a_slice(*endpoints, ports=[THEIRS]))
    assert found == {"10.96.0.7:80": expected}


def test_the_fallback_is_decided_for_each_port_and_family() -> None:
    ending = {"ready": False, "serving": True, "terminating": True}
    body = a_service(HTTP, clusterIPs=["10.96.0.7", "fd00:10:96::7"])
    four = a_slice(at("10.16.0.4", **ending), at("10.16.0.5"), ports=[THEIRS])
    six = a_slice(at("fd00:10:16::4", **ending), ports=[THEIRS], family="IPv6", name="web-6")
    assert vips(body, four, six) == {
        "10.96.0.7:80": "10.16.0.5:8080",
        "[fd00:10:96::7]:80": "[fd00:10:16::4]:8080",
    }


def test_the_api_server_itself_is_an_endpoint_on_the_host_network() -> None:
    body = a_service({"name": "https", "port": 443, "targetPort": 6443})
    found = a_slice(at("192.0.2.1"), ports=[{"name": "https", "port": 6443}])
    assert vips(body, found) == {"10.96.0.7:443": "192.0.2.1:6443"}


@pytest.mark.parametrize(
    "body",
    [
        a_service(HTTP, clusterIPs=["None"]),
        a_service(HTTP, clusterIPs=None, clusterIP="None"),
        a_service(HTTP, clusterIPs=None, clusterIP=""),
        a_service(type="ExternalName", externalName="example.com", clusterIPs=None),
        # The type was changed, and the API server kept the address.
        a_service(HTTP, type="ExternalName"),
    ],
)
def test_headless_and_external_names_are_left_alone(body: Body) -> None:
    assert service(body) is None


def test_a_service_of_another_proxy_is_left_alone() -> None:
    body = a_service(HTTP)
    body["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "mesh"}
    assert service(body) is None


def test_an_api_server_before_1_20_has_one_address() -> None:
    assert vips(a_service(HTTP, clusterIPs=None, clusterIP="10.96.0.8")) == {"10.96.0.8:80": ""}


def test_a_node_port_and_an_external_address_are_not_virtual_addresses_of_ovn() -> None:
    """They are kube-proxy's: each node answers them."""
    body = a_service(HTTP | {"nodePort": 30080}, type="LoadBalancer", externalIPs=["192.0.2.9"])
    body["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]}}
    assert vips(body) == {"10.96.0.7:80": ""}


@pytest.mark.parametrize(
    ("spec", "ingress", "more"),
    [
        ({"externalIPs": ["192.0.2.9", "2001:db8::9"]}, [], {"192.0.2.9:80"}),
        ({}, [{"ip": "192.0.2.8"}, {"hostname": "lb.example.com"}], {"192.0.2.8:80"}),
        ({}, [{"ip": "192.0.2.8", "ipMode": "Proxy"}], set()),
        # kube-proxy drops what comes from elsewhere.
        ({"loadBalancerSourceRanges": ["192.0.2.0/28"]}, [{"ip": "192.0.2.8"}], set()),
    ],
)
def test_of_a_service_that_keeps_the_source_external_addresses_are_virtual_too(
    spec: Body, ingress: list[Body], more: set[str]
) -> None:
    body = a_service(HTTP, externalTrafficPolicy="Local", **spec)
    body["status"] = {"loadBalancer": {"ingress": ingress}}
    assert set(vips(body)) == {"10.96.0.7:80", *more}


def test_host_names_and_texts_that_are_no_address_are_no_endpoints() -> None:
    found = a_slice(at("pod.example.com"), at("010.0.0.1"), at("10.16.0.4"), ports=[THEIRS])
    assert vips(a_service(HTTP), found) == {"10.96.0.7:80": "10.16.0.4:8080"}


def test_a_slice_without_a_service_is_nothing() -> None:
    body = a_slice(at("10.16.0.4"), ports=[THEIRS])
    del body["metadata"]["labels"]
    assert endpoint_slice(body) is None


def affinity(seconds: int | None) -> Body:
    config = {"clientIP": {"timeoutSeconds": seconds}} if seconds else None
    return a_service(HTTP, sessionAffinity="ClientIP", sessionAffinityConfig=config)


@pytest.mark.parametrize(
    ("asked", "given", "told"),
    [(None, "10800", False), (1, "1", False), (65535, "65535", False), (86400, "65535", True)],
)
def test_session_affinity_ends_as_asked_up_to_what_ovn_keeps(
    asked: int | None, given: str, told: bool
) -> None:
    body = affinity(asked)
    assert dict(made(body)["tcp"].options)["affinity_timeout"] == given
    found = noticed(body)
    assert ("SessionAffinityCapped" in found) == told
    if told:
        assert found["SessionAffinityCapped"][0] == "Warning"
        assert "65535 s" in found["SessionAffinityCapped"][1]


def test_without_affinity_there_is_no_time_out_and_nothing_to_tell() -> None:
    assert "affinity_timeout" not in dict(
        made(a_service(HTTP, sessionAffinity="None"))["tcp"].options
    )
    assert not noticed(a_service(HTTP), a_slice(at("10.16.0.4"), ports=[THEIRS]))


@pytest.mark.parametrize(
    ("spec", "annotations", "hints", "reason"),
    [
        ({"internalTrafficPolicy": "Local"}, {}, None, "TrafficPolicyNotApplied"),
        ({"trafficDistribution": "PreferClose"}, {}, None, "TopologyNotApplied"),
        ({}, {"service.kubernetes.io/topology-mode": "Auto"}, None, "TopologyNotApplied"),
        ({}, {"service.kubernetes.io/topology-aware-hints": "auto"}, None, "TopologyNotApplied"),
        ({}, {}, {"forZones": [{"name": "a"}]}, "TopologyNotApplied"),
        ({"internalTrafficPolicy": "Cluster"}, {}, {}, None),
        ({}, {"service.kubernetes.io/topology-mode": "Disabled"}, None, None),
    ],
)
def test_what_depends_on_the_clients_node_is_told(
    spec: Body, annotations: Body, hints: Body | None, reason: str | None
) -> None:
    body = a_service(HTTP, **spec)
    body["metadata"]["annotations"] = annotations
    endpoint = at("10.16.0.4") | ({"hints": hints} if hints is not None else {})
    found = a_slice(endpoint, at("10.16.0.5"), ports=[THEIRS])
    assert set(noticed(body, found)) == ({reason} if reason else set())
    assert vips(body, found) == {"10.96.0.7:80": "10.16.0.4:8080,10.16.0.5:8080"}


def test_a_changed_endpoint_changes_one_row_and_a_deleted_service_removes_all() -> None:
    ports = (HTTP, HTTP | {"protocol": "UDP"})
    theirs = [THEIRS, THEIRS | {"protocol": "UDP"}]
    before = frozenset(made(a_service(*ports), a_slice(at("10.16.0.4"), ports=theirs)).values())
    after = frozenset(made(a_service(*ports), a_slice(at("10.16.0.4"), ports=[THEIRS])).values())
    (step,) = diff(after, before)
    assert str(step) == "~ LoadBalancer ovnlet/shop/web/udp: 10.96.0.7:80 10.16.0.4:8080 -> "
    assert [str(step.resource.key[-1]) for step in diff(ABSENT, before)] == [
        "ovnlet/shop/web/udp",
        "ovnlet/shop/web/tcp",
    ]
