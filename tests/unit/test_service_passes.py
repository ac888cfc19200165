"""The passes of Services, with a strict northbound and objects as a watch reports them."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kit import recorded
from kit.strict_northbound import StrictNorthbound
from ovnlet.controller.context import ControllerContext, Key
from ovnlet.controller.services import Services, SliceIndex, key
from ovnlet.core.errors import NotReady, Taken
from ovnlet.core.ipam.claims import NodeClaim
from ovnlet.core.plan import Step
from ovnlet.core.resources.northbound import (
    GROUP,
    LoadBalancer,
    LoadBalancerGroup,
    Row,
    Rows,
)
from ovnlet.core.services import EndpointSlice, Owner, ServiceObject
from ovnlet.kube.services import endpoint_slice, service

WEB: Owner = ("shop", "web")
WEB_PASS: Key = ("service", "shop", "web")


class Database:
    """The northbound as a pass sees it, over the strict one."""

    connected, foreign = True, False

    def __init__(self) -> None:
        self.strict = StrictNorthbound()
        group = LoadBalancerGroup(GROUP)
        self.strict.rows[group.key] = group

    def has(self, *, group: str) -> bool:
        return LoadBalancerGroup(group).key in self.strict.rows

    def _all(self) -> list[LoadBalancer]:
        return [row for row in self.strict.all if isinstance(row, LoadBalancer)]

    def balancers(self, owner: Owner) -> Rows:
        if self.foreign:
            raise Taken(f"the load balancer of {owner} was not made by ovnlet")
        return frozenset(row for row in self._all() if row.service == "/".join(owner))

    def balanced(self) -> set[str]:
        return {row.service for row in self._all()}

    async def apply(self, plan: Sequence[Step[Row]]) -> None:
        for step in plan:
            self.strict.apply(step)

    @property
    def vips(self) -> dict[str, str]:
        return {key: value for row in self._all() for key, value in row.vips}


class Cluster:
    """A controller's passes, and what they asked for and recorded."""

    def __init__(self) -> None:
        self.database = Database()
        self.asked: list[Key] = []
        self.nodes: list[NodeClaim] = []
        self.events: list[tuple[str, str]] = []
        self.services: dict[Owner, ServiceObject] = {}
        self.listed = asyncio.Event()
        self.newer, self.older = SliceIndex(self.asked.append), SliceIndex(self.asked.append)
        context = SimpleNamespace(
            northbound=self.database,
            add=self.asked.append,
            nodes=self.nodes,
            record=lambda subject, kind, reason, _: self.events.append((subject.name, reason)),
        )
        objects = cast(Any, self.services)
        self.passes = Services(
            cast(ControllerContext, context), objects, self.listed, (self.newer, self.older)
        )

    def complete(self, *indexes: SliceIndex) -> None:
        self.listed.set()
        for index in indexes or (self.newer,):
            index.complete.set()


def a_service(**spec: Any) -> ServiceObject:
    found = service(recorded.service({"port": 80}, **spec))
    assert found is not None
    return found


def a_slice(*addresses: str, name: str = "web-1", of: str = "web") -> EndpointSlice:
    endpoints = map(recorded.endpoint, addresses)
    found = endpoint_slice(
        recorded.endpoint_slice(*endpoints, ports=[{"port": 8080}], name=name, of=of)
    )
    assert found is not None
    return found


@pytest.fixture
async def cluster() -> Cluster:
    made = Cluster()
    made.services[WEB] = a_service()
    return made


async def test_nothing_is_written_before_the_lists_are_complete(cluster: Cluster) -> None:
    """A slice that is not listed yet would be taken for endpoints that are gone."""
    cluster.newer.changed(None, a_slice("10.16.0.4"))
    await cluster.passes.service(WEB)
    cluster.listed.set()
    await cluster.passes.service(WEB)
    cluster.passes.add_all()
    assert (cluster.database.vips, cluster.asked) == ({}, [WEB_PASS])
    cluster.complete()
    await cluster.passes.service(WEB)
    assert cluster.database.vips == {"10.96.0.7:80": "10.16.0.4:8080"}


async def test_the_passes_begin_with_the_lists_of_either_version(cluster: Cluster) -> None:
    beginning = asyncio.create_task(cluster.passes.begin())
    await asyncio.sleep(0)
    assert not cluster.asked
    cluster.passes._objects = cast(Any, list(cluster.services.values()))
    cluster.complete(cluster.older)
    await beginning
    assert cluster.asked == [WEB_PASS]


async def test_an_older_api_server_serves_and_an_upgrade_takes_over(cluster: Cluster) -> None:
    cluster.older.changed(None, a_slice("10.16.0.4"))
    cluster.complete(cluster.older)
    await cluster.passes.service(WEB)
    assert cluster.database.vips == {"10.96.0.7:80": "10.16.0.4:8080"}
    cluster.asked.clear()
    # The server of the new version reports the same slice, then a change of it. The older version
    # ends, and its store stays as it was.
    cluster.newer.changed(None, a_slice("10.16.0.4"))
    cluster.newer.complete.set()
    cluster.newer.changed(a_slice("10.16.0.4"), a_slice("10.16.0.5"))
    assert cluster.asked == [WEB_PASS, WEB_PASS, WEB_PASS]
    await cluster.passes.service(WEB)
    assert cluster.database.vips == {"10.96.0.7:80": "10.16.0.5:8080"}


async def test_a_slice_that_moves_to_another_service_changes_both(cluster: Cluster) -> None:
    cluster.complete()
    cluster.newer.changed(None, a_slice("10.16.0.4"))
    cluster.asked.clear()
    cluster.newer.changed(a_slice("10.16.0.4"), a_slice("10.16.0.4", of="other"))
    assert cluster.asked == [WEB_PASS, ("service", "shop", "other")]
    await cluster.passes.service(WEB)
    assert cluster.database.vips == {"10.96.0.7:80": ""}
    cluster.newer.changed(a_slice("10.16.0.4", of="other"), None)
    assert cluster.newer.of(("shop", "other")) == ()


async def test_what_is_right_is_not_written_and_what_is_gone_is_removed(cluster: Cluster) -> None:
    cluster.complete()
    await cluster.passes.service(WEB)
    writes = cluster.database.strict.writes
    await cluster.passes.service(WEB)
    assert cluster.database.strict.writes == writes == 1
    gone = cluster.services.pop(WEB)
    cluster.passes.changed(gone, None)
    assert cluster.asked.pop() == WEB_PASS
    cluster.passes._objects = cast(Any, [])
    cluster.passes.add_all()
    assert cluster.asked.pop() == key("shop/web") == WEB_PASS
    cluster.passes._objects = cast(Any, {})
    await cluster.passes.service(WEB)
    assert cluster.database.balanced() == set()


async def test_without_the_group_a_service_waits(cluster: Cluster) -> None:
    cluster.complete()
    cluster.database.strict.rows.clear()
    with pytest.raises(NotReady, match="group"):
        await cluster.passes.service(WEB)


async def test_a_notice_is_recorded_once_until_it_ends(cluster: Cluster) -> None:
    cluster.complete()
    asked = {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}}
    local = {"internalTrafficPolicy": "Local"}
    for spec in (asked, asked, asked | local, local, asked | local):
        cluster.services[WEB] = a_service(sessionAffinity="ClientIP", **spec)
        await cluster.passes.service(WEB)
    assert cluster.events == [
        ("web", "SessionAffinityCapped"),
        ("web", "TrafficPolicyNotApplied"),
        ("web", "SessionAffinityCapped"),
    ]


async def test_a_foreign_load_balancer_of_a_wanted_name_is_an_event(cluster: Cluster) -> None:
    cluster.complete()
    cluster.database.foreign = True
    for _ in range(2):
        with pytest.raises(Taken):
            await cluster.passes.service(WEB)
    assert cluster.events == [("web", "LoadBalancerTaken")]


async def test_node_ports_of_a_service_that_keeps_the_source_follow_the_nodes(
    cluster: Cluster,
) -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    exposed = a_service(ports=ports, externalTrafficPolicy="Local")
    cluster.passes._objects = cast(Any, [exposed])
    cluster.passes.nodes_changed()
    assert cluster.asked == [WEB_PASS]
    cluster.passes._objects = cast(Any, cluster.services)
    cluster.complete()
    for spec, vips in (
        ({"externalTrafficPolicy": "Local"}, {"10.96.0.7:80", "192.0.2.1:30080"}),
        ({}, {"10.96.0.7:80"}),
    ):
        cluster.nodes[:] = [
            NodeClaim("n0", "u", ("192.0.2.1", "2001:db8::1", "192.0.2.3")),
            NodeClaim("n1", "u", ("192.0.2.3", "no address")),  # a claim of another's, and nonsense
        ]
        cluster.services[WEB] = a_service(ports=ports, **spec)
        await cluster.passes.service(WEB)
        assert set(cluster.database.vips) == vips
