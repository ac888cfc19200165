"""One port of a pod: requested, answered, pinned, annotated, refused, inherited, retired."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from kit.strict_northbound import StrictNorthbound
from ovnlet.core import topology
from ovnlet.core.annotations import MIRROR_UID
from ovnlet.core.ipam import decide, published, subnets
from ovnlet.core.ipam.claims import Claim, NodeClaim, StatefulSet, Workload, bound
from ovnlet.core.ipam.decide import Decision, Seen
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import SwitchPort
from ovnlet.kube.objects import workload

DUAL = subnets.read("shop", {"cidrBlock": "10.16.0.0/24,fd00:16::/64"})
TINY = subnets.read("tiny", {"cidrBlock": "10.17.0.0/30,fd00:17::/64"})


class World:
    """A northbound database with one subnet, and claims that are processed as by the controller."""

    def __init__(self, subnet: subnets.Subnet = DUAL) -> None:
        self.subnet, self.database = subnet, StrictNorthbound()
        self.put(
            *diff(topology.subnet(subnet, "r") | topology.network("r", [], subnet, []), frozenset())
        )

    def put(self, *steps: object) -> None:
        for step in steps:
            self.database.apply(step)  # type: ignore[arg-type]

    def decide(self, claim: Claim) -> Decision:
        seen = self.database.port(claim.port)
        return decide.decide(claim, seen, self.subnet, self.database.holder)

    def once(self, claim: Claim) -> Decision:
        decision, seen = self.decide(claim), self.database.port(claim.port)
        have = frozenset({seen.port}) if seen else frozenset()
        want = frozenset({decision.port}) if decision.port else frozenset()
        self.put(*diff(want, have))
        return decision

    def settle(self, claim: Claim) -> Decision:
        for _ in range(4):
            decision = self.once(claim)
            self.database.northd()
        return decision


def pod(name: str = "a", uid: str = "u1", **annotations: str) -> Workload:
    return Workload(
        "default",
        name,
        uid,
        "n0",
        annotations={f"ovn.kubernetes.io/{k}": v for k, v in annotations.items()},
    )


def annotated(world: World, claim: Workload) -> Workload:
    """Return the pod with the annotations that the controller writes."""
    binding = world.settle(claim).binding
    assert binding is not None
    facts = published.annotations(claim, binding, world.subnet, "r")
    return replace(claim, annotations={**claim.annotations, **facts})


def test_ovn_chooses_and_the_controller_pins_exactly_that() -> None:
    world, claim = World(), pod()
    first = world.once(claim)
    assert (first.fresh, first.binding, first.port and first.port.addresses) == (
        True,
        None,
        "dynamic",
    )
    world.database.northd()
    answer = world.database.answers["a.default"]
    second = world.once(claim)
    assert second.port is not None
    assert (second.port.addresses, second.port.port_security) == (answer, answer)
    assert dict(second.port.options) == {"iface-id-ver": "u1", "requested-chassis": "n0"}
    writes = world.database.writes
    assert world.settle(claim).binding == bound(answer)
    assert world.database.writes == writes, "pinned, nothing is written any more"


def test_the_annotations_of_a_pod_follow_kube_ovns_contract() -> None:
    claim = annotated(World(), pod())
    facts = {
        key.removeprefix("ovn.kubernetes.io/"): value for key, value in claim.annotations.items()
    }
    assert facts | {"ip_address": "", "mac_address": ""} == {
        "ip_address": "",
        "mac_address": "",
        "cidr": "10.16.0.0/24,fd00:16::/64",
        "gateway": "10.16.0.1,fd00:16::1",
        "logical_switch": "shop",
        "logical_router": "r",
        "pod_nic_type": "veth-pair",
        "allocated": "true",
        "routed": "true",
    }
    assert facts["ip_address"].startswith("10.16.0.")
    assert ",fd00:16::" in facts["ip_address"]


def test_a_node_is_annotated_with_its_port() -> None:
    world, claim = World(), NodeClaim("n0", "u")
    binding = world.settle(claim).binding
    assert binding is not None
    facts = published.annotations(claim, binding, DUAL, "r")
    seen = world.database.port("node-n0")
    assert seen is not None
    assert facts["ovn.kubernetes.io/port_name"] == "node-n0"
    assert (seen.port.addresses, seen.port.port_security) == (str(binding), ""), (
        "it forwards what is not its own"
    )


def test_a_subnet_without_a_free_ipv4_address_is_full_though_ovn_gives_the_rest() -> None:
    world = World(TINY)
    assert world.settle(pod("a")).binding
    decision = world.settle(pod("b"))
    assert (decision.binding, decision.waits, decision.event and decision.event[0]) == (
        None,
        True,
        "SubnetFull",
    )


def test_a_request_for_a_used_address_names_its_port() -> None:
    world = World()
    first = world.settle(pod("a", ip_address="10.16.0.77"))
    assert first.binding is not None
    assert ip_address("10.16.0.77") in first.binding.addresses
    second = world.settle(pod("b", ip_address="10.16.0.77"))
    assert second.event == ("AddressTaken", "10.16.0.77 is in use by a.default")
    assert (second.waits, world.database.port("b.default")) == (True, None)


def test_another_answer_than_requested_is_never_accepted() -> None:
    world, claim = World(), pod(ip_address="fd00:16::77")
    world.once(claim)
    world.database.answers["a.default"] = "0a:00:00:00:00:01 10.16.0.78 fd00:16::78"
    decision = world.decide(claim)
    assert (decision.binding, decision.port) == (None, None)
    assert decision.event is not None
    assert "fd00:16::78" in decision.event[1]


def test_an_ipv4_address_is_enough_to_derive_the_rest() -> None:
    """The MAC has the address, and the IPv6 address has the MAC, as OVN derives it (EUI-64)."""
    binding = World().once(pod(ip_address="10.16.0.77")).binding
    assert str(binding) == "0a:58:0a:10:00:4d 10.16.0.77 fd00:16::858:aff:fe10:4d"


def test_another_mac_is_derived_where_the_first_is_taken() -> None:
    world = World()
    assert world.settle(pod("b", mac_address="0a:58:0a:10:00:4d")).binding
    assert str(world.once(pod(ip_address="10.16.0.77")).binding).startswith("0e:58:0a:10:00:4d ")


def test_a_request_for_a_mac_and_every_address_needs_no_answer() -> None:
    claim = pod(ip_address="10.16.0.9,fd00:16::9", mac_address="0A:00:00:00:00:99")
    binding = World().once(claim).binding
    assert str(binding) == "0a:00:00:00:00:99 10.16.0.9 fd00:16::9"


@pytest.mark.parametrize(
    "wrong",
    [
        {"ip_address": "10.16.9.1"},
        {"ip_address": "10.16.0.1"},
        {"mac_address": "01:00:00:00:00:01"},
        {"ip_pool": "x"},
    ],
)
def test_an_impossible_request_is_invalid(wrong: dict[str, str]) -> None:
    decision = World().settle(pod(**wrong))
    assert (decision.port, decision.event and decision.event[0]) == (None, "InvalidAnnotation")


def test_a_pool_gives_the_first_that_is_free_and_a_stateful_set_its_ordinals() -> None:
    world, pool = World(), "10.16.0.50,10.16.0.51"
    got = [world.settle(pod(name, ip_pool=pool)).binding for name in "ab"]
    assert [str(b.addresses[0]) for b in got if b] == ["10.16.0.50", "10.16.0.51"]
    assert world.settle(pod("c", ip_pool=pool)).event == (
        "AddressTaken",
        "10.16.0.50 is in use by a.default; 10.16.0.51 is in use by b.default",
    )
    member = replace(pod("db-1", ip_pool="10.16.0.60;10.16.0.61"), workload="db")
    binding = world.settle(member).binding
    assert binding is not None
    assert str(binding.addresses[0]) == "10.16.0.61"


def test_a_tenants_edit_changes_nothing() -> None:
    world = World()
    claim = annotated(world, pod())
    before = world.database.all
    edited = replace(
        claim, annotations={**claim.annotations, "ovn.kubernetes.io/ip_address": "10.16.0.200"}
    )
    decision = world.settle(edited)
    assert world.database.all == before
    assert decision.binding is not None
    facts = published.annotations(edited, decision.binding, DUAL, "r")
    assert published.missing(edited, facts) == {
        "ovn.kubernetes.io/ip_address": decision.binding.ips
    }


def test_a_new_pod_of_the_same_name_inherits_the_port() -> None:
    world = World()
    binding = world.settle(pod(uid="u1")).binding
    again = world.settle(replace(pod(uid="u2"), node="n1"))
    assert again.binding == binding
    assert again.port is not None
    assert dict(again.port.options) == {"iface-id-ver": "u2", "requested-chassis": "n1"}


def test_after_a_wipe_running_pods_get_exactly_their_annotated_addresses() -> None:
    before = World()
    claims = [annotated(before, pod(name, name)) for name in "abc"]
    after = World()
    for claim in reversed(claims):
        decision = after.once(claim)
        assert (decision.fresh, decision.binding and decision.binding.ips) == (
            False,
            claim.annotations["ovn.kubernetes.io/ip_address"],
        )


def test_a_port_cools_down_before_its_address_is_free() -> None:
    world = World()
    world.settle(pod())
    seen = world.database.port("a.default")
    assert seen is not None
    port, again = decide.retired(seen, 1000, 60)
    assert port is not None
    assert (port.enabled, port.addresses, again) == (False, seen.port.addresses, 60)
    port, again = decide.retired(Seen(port), 1059, 60)
    assert (port is not None, again) == (True, 1)
    assert port is not None
    assert decide.retired(Seen(port), 1060, 60) == (None, 0)


def test_a_port_in_no_pods_annotations_is_deleted_at_once() -> None:
    assert decide.retired(
        Seen(SwitchPort("s", "a.default", "dynamic"), "0a:00:00:00:00:01 10.0.0.2"), 0, 60
    ) == (
        None,
        0,
    )


def test_what_a_stateful_set_wants() -> None:
    wanted = StatefulSet("default", "db", "u", 0, 2)
    assert [wanted.wants(name) for name in ("db-0", "db-1", "db-2", "db")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_static_pods_port_waits_for_the_uid_that_the_runtime_knows() -> None:
    meta = {"namespace": "default", "name": "fixed-n0", "uid": "mirror"}
    body = {"metadata": meta | {"annotations": {MIRROR_UID: "hash"}}, "spec": {"nodeName": "n0"}}
    static = workload(body)
    assert static is not None
    assert (static.object_uid, static.options["iface-id-ver"]) == ("mirror", "hash")
    ordinary = workload({"metadata": meta, "spec": {"nodeName": "n0"}})
    assert ordinary is not None
    assert ordinary.options["iface-id-ver"] == "mirror"
