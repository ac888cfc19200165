"""The scope of the gateway: when there is one, what it remembers, what it reports."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from kit.memory import Recorded
from ovnlet.core.gateway import GatewayIdentity
from ovnlet.core.node_network import HostPrefix
from ovnlet.core.plan import Plan
from ovnlet.core.resources import ABSENT, Accepts, Network, NftTable, PolicyRule
from ovnlet.core.resources.gateway import Accepted
from ovnlet.core.values import address, prefix
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.gateway import GatewayScope

SUBNETS = '[{"name": "one", "spec": {"cidrBlock": "10.16.0.0/16", "natOutgoing": true}}]'
EGRESS = (
    '[{"name": "one", "spec": {"cidrBlock": "10.16.0.0/16", "externalEgressGateway": "192.0.2.9",'
    ' "policyRoutingTableID": 1001, "policyRoutingPriority": 3000}}]'
)


@dataclass
class Host:
    """A kernel that does what it is told."""

    has_tables: bool = True
    firewall: Collection[tuple[str, str]] = ()
    prefixes: Collection[HostPrefix] = (HostPrefix(prefix("192.0.2.0/24"), "eth0"),)
    there: Network = ABSENT

    async def ready(self) -> None:
        return

    async def observe(self, _: GatewayIdentity, __: Network) -> Network:
        return self.there

    async def apply(self, _: GatewayIdentity, plan: Plan) -> None:
        self.there = frozenset(step.resource for step in plan) | self.there


@dataclass
class File:
    values: dict[str, str] = field(default_factory=dict)

    def read(self) -> dict[str, str]:
        return dict(self.values)

    def write(self, values: object) -> None:
        assert isinstance(values, dict)
        self.values = dict(values)


class Watch:
    def __init__(self) -> None:
        self.tables: frozenset[str] = frozenset()
        self.of_addresses: set[Key] = set()

    def follow_tables(self, _: Key, tables: frozenset[str]) -> None:
        self.tables = tables

    def follow_addresses(self, key: Key) -> None:
        self.of_addresses.add(key)


class Setup:
    def __init__(self, file: File | None = None, *, has_tables: bool = True) -> None:
        self.loop, self.host, self.watch = Loop(), Host(has_tables), Watch()
        self.pods = {"one": [address("10.16.0.5")]}
        self.file = file or File()
        self.scope = GatewayScope(
            self.host,
            self.file,
            self.loop.passes("gateway"),
            Recorded("gateway"),
            watch=self.watch,
            pods=lambda name: self.pods.get(name, []),
        )
        self.loop.keep("gateway", self.scope)

    async def reconcile(self) -> Network:
        outcome = await self.loop.reconcile(Key("gateway", "gateway"))
        assert outcome is not None
        return outcome.observed


async def test_nothing_is_desired_before_the_cluster_was_seen() -> None:
    setup = Setup()
    assert list(setup.scope.every_key()) == []
    assert setup.scope.target("gateway") is None
    assert setup.scope.missing_inputs("gateway")
    setup.scope.put({"subnets": SUBNETS})
    assert list(setup.scope.every_key()) == ["gateway"]
    assert setup.scope.missing_inputs("gateway") is None
    assert NftTable() in await setup.reconcile()
    assert setup.watch.tables == {"ovnlet", "filter", "nat", "mangle"}
    assert len(setup.watch.of_addresses) == 1, "an address reaches the gateway of an egress Subnet"


async def test_the_cluster_is_remembered_over_a_restart() -> None:
    file = File()
    first = Setup(file)
    first.scope.put({"subnets": SUBNETS})
    again = Setup(file)
    assert again.scope.wanted("gateway") == first.scope.wanted("gateway")
    assert list(again.scope.every_key()) == ["gateway"]


async def test_a_change_asks_for_a_pass_and_the_same_for_none() -> None:
    setup = Setup()
    setup.scope.put({"subnets": SUBNETS})
    assert len(setup.loop.queue) == 1
    setup.scope.put({"subnets": SUBNETS})
    assert len(setup.loop.queue) == 1
    await setup.loop.queue.close()


async def test_without_nf_tables_it_is_reported_and_the_rest_is_made() -> None:
    setup = Setup(has_tables=False)
    setup.scope.put({"subnets": EGRESS})
    target = setup.scope.target("gateway")
    assert target is not None
    assert [notice.reason for notice in target.notices] == ["NatNotDone"]
    setup.host.firewall = {("legacy ip", "FORWARD")}
    rule = PolicyRule(prefix("10.16.0.5/32"), 1001, 3000)
    accepted = tuple(Accepted(to, prefix("10.16.0.0/16")) for to in (False, True))
    assert {rule, Accepts("legacy ip", "FORWARD", accepted)} <= await setup.reconcile()
    await setup.loop.queue.close()


async def test_a_pod_that_comes_asks_for_a_pass_only_where_routing_follows_it() -> None:
    setup = Setup()
    setup.scope.put({"subnets": SUBNETS})
    await setup.reconcile()
    await setup.loop.queue.close()
    plain = Setup(File({"subnets": SUBNETS}))
    plain.scope.attached("one")
    assert len(plain.loop.queue) == 0
    egress = Setup(File({"subnets": EGRESS}))
    egress.scope.attached("another")
    assert len(egress.loop.queue) == 0
    egress.scope.attached("one")
    assert len(egress.loop.queue) == 1
    await egress.loop.queue.close()


async def test_what_cannot_be_used_is_reported() -> None:
    setup = Setup()
    setup.host.prefixes = ()
    setup.scope.put({"subnets": EGRESS})
    target = setup.scope.target("gateway")
    assert target is not None
    (notice,) = target.notices
    assert notice.reason == "GatewayNotDone"
    assert "192.0.2.9" in notice.text
    await setup.loop.queue.close()


@pytest.mark.parametrize("subnets", ["[", '{"one": {}}', '[{"name": "one"}]', '[{"spec": "x"}]'])
async def test_a_file_that_nobody_can_read_counts_as_none(subnets: str) -> None:
    """The agent must start with what another release, or a person, has written."""
    setup = Setup(File({"subnets": subnets}))
    assert list(setup.scope.every_key()) == []
    setup.scope.put({"subnets": SUBNETS})
    assert NftTable() in await setup.reconcile()
    assert setup.file.values == {"subnets": SUBNETS}
    await setup.loop.queue.close()
