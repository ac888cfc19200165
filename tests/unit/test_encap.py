"""The addresses of a node's tunnels, where they follow from the Node (K7, F6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kit.memory import Recorded
from ovnlet.core.encap import KEYS, Sources, desired
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ChassisId, Network
from ovnlet.core.settings import Repair
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.scope import Key
from ovnlet.reconcile.scopes.encap import EncapScope

pytestmark = pytest.mark.review2
LINKS: Mapping[str, tuple[str, ...]] = {
    "lo": ("127.0.0.1", "::1"),
    "eth0": ("fd00::11", "192.0.2.11"),
    "eth1": ("198.51.100.11",),
    "ens2f0": ("203.0.113.11",),
    "ovn0": ("100.64.0.2",),
}
INTERNAL = ("fd00::11", "192.0.2.11")


def keys(network: Network) -> tuple[str, str]:
    """Return the value of `ovn-encap-ip` and of its default, empty where there is none."""
    found = {each.name: each.value for each in network if isinstance(each, ChassisId)}
    return found.get("ovn-encap-ip", ""), found.get("ovn-encap-ip-default", "")


@pytest.mark.parametrize(
    ("sources", "last", "wanted"),
    [
        (Sources(internal=INTERNAL), "", "192.0.2.11"),
        (Sources(internal=("fd00::11",)), "", "fd00::11"),
        (Sources(internal=INTERNAL), "198.51.100.11", "198.51.100.11"),
        (Sources(internal=INTERNAL), "10.9.9.9", "192.0.2.11"),
        (Sources(internal=INTERNAL), "100.64.0.2", "192.0.2.11"),
        (Sources(interface="eth1", internal=INTERNAL), "192.0.2.11", "198.51.100.11"),
        (Sources(interface="eth9, ens.*", internal=INTERNAL), "", "203.0.113.11"),
        (Sources(interface="(", internal=INTERNAL), "", "192.0.2.11"),
        (Sources(given="192.0.2.99", interface="eth1"), "203.0.113.11", "192.0.2.99"),
        (Sources(internal=("192.0.2.77",)), "", ""),
        (Sources(declared=("198.51.100.11",), given="192.0.2.99"), "", "198.51.100.11"),
        (Sources(declared=("no address",), internal=INTERNAL), "", "192.0.2.11"),
        (Sources(), "", ""),
    ],
)
def test_which_address_it_is(sources: Sources, last: str, wanted: str) -> None:
    """What an administrator chose by kube-ovn-cni's `--iface` is not given up for an InternalIP."""
    assert keys(desired(sources, LINKS, last)) == (wanted, wanted)


def test_further_networks_of_the_node_are_listed_after_the_default_k7() -> None:
    networks = '{"storage": "198.51.100.11", "same": "192.0.2.11", "elsewhere": "192.0.2.200"}'
    found = keys(desired(Sources(networks=networks, internal=INTERNAL), LINKS, ""))
    assert found == ("192.0.2.11,198.51.100.11", "192.0.2.11")


@pytest.mark.parametrize("networks", ["[]", "{", '{"a": 7}', "7", '{"a": {"b": 1}}'])
def test_networks_that_nobody_can_read_change_nothing(networks: str) -> None:
    found = keys(desired(Sources(networks=networks, internal=INTERNAL), LINKS, ""))
    assert found == ("192.0.2.11", "192.0.2.11")


@dataclass
class Database:
    """Open_vSwitch.external_ids, and a node's links."""

    ids: dict[str, str] = field(default_factory=dict)
    by_link: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: LINKS)

    async def ready(self) -> None:
        return

    def present(self) -> dict[str, str]:
        return {name: text for name, text in self.ids.items() if name in KEYS}

    def links(self) -> Mapping[str, tuple[str, ...]]:
        return self.by_link

    async def observe(self, _: object, __: Network) -> Network:
        return frozenset(ChassisId(*item) for item in self.ids.items() if item[0] in KEYS)

    async def apply(self, _: object, plan: Plan) -> None:
        for step in plan:
            assert step.verb is Verb.ENSURE
            assert isinstance(step.resource, ChassisId)
            self.ids[step.resource.name] = step.resource.value


@dataclass
class Inputs:
    kept: dict[str, str] = field(default_factory=dict)

    def read(self) -> dict[str, str]:
        return self.kept

    def write(self, values: Mapping[str, str]) -> None:
        self.kept = dict(values)


class Kept:
    """The loop with this scope alone."""

    def __init__(
        self,
        database: Database,
        inputs: Inputs | None = None,
        *,
        given: str = "",
        follows_node: bool = True,
        repair: Repair = "fix",
    ) -> None:
        self.loop, self.status, self.database = Loop(), Recorded("encap"), database
        self.of_addresses: set[Key] = set()
        self.scope = EncapScope(
            database,
            inputs or Inputs(),
            self.loop.passes("encap"),
            self.status,
            follows_node=follows_node,
            watch=self,
            given=given,
            repair=repair,
        )
        self.loop.keep("encap", self.scope)

    def follow_addresses(self, key: Key) -> None:
        self.of_addresses.add(key)

    async def outcome(self) -> Outcome:
        outcome = await self.loop.reconcile(self.loop.passes("encap").key("encap"))
        assert outcome is not None
        return outcome

    async def look(self) -> tuple[str, str]:
        await self.loop.reconcile(self.loop.passes("encap").key("encap"))
        return self.database.ids.get("ovn-encap-ip", ""), self.database.ids.get(
            "ovn-encap-ip-default", ""
        )


async def test_a_new_node_gets_both_keys_from_its_internal_ip_k7() -> None:
    kept = Kept(Database({"ovn-remote": "tcp:192.0.2.1:6642"}))
    assert await kept.look() == ("", ""), "nothing is invented before the Node is known"
    kept.scope.put("", "", INTERNAL)
    await kept.loop.queue.close()
    assert await kept.look() == ("192.0.2.11", "192.0.2.11")
    assert kept.database.ids["ovn-remote"] == "tcp:192.0.2.1:6642"


async def test_nonsense_comes_back_and_a_missing_default_is_written_f6() -> None:
    """F6: `ovn-encap-ip` changed to nonsense was taken for an administrator's wish."""
    kept = Kept(Database({"ovn-encap-ip": "198.51.100.11"}))
    kept.scope.put("", "", INTERNAL)
    await kept.loop.queue.close()
    assert await kept.look() == ("198.51.100.11", "198.51.100.11")
    kept.database.ids["ovn-encap-ip"] = "10.255.0.1"
    assert await kept.look() == ("198.51.100.11", "198.51.100.11"), "as it was last set"
    kept.database.ids.clear()
    assert await kept.look() == ("198.51.100.11", "198.51.100.11")


async def test_before_the_node_is_known_what_was_set_last_is_kept_as_it_was() -> None:
    """The Node may list further addresses, which a start without an API server must not drop."""
    both = {"ovn-encap-ip": "192.0.2.11,198.51.100.11", "ovn-encap-ip-default": "192.0.2.11"}
    kept = Kept(Database(dict(both)))
    assert await kept.look() == tuple(both.values()), "nothing was set by us: nothing is known"
    kept = Kept(Database(dict(both)), Inputs(dict(both)))
    assert await kept.look() == tuple(both.values())
    kept.database.ids.clear()
    assert await kept.look() == tuple(both.values())
    kept.database.by_link = {"eth0": ("192.0.2.99",)}
    kept.database.ids.clear()
    assert await kept.look() == ("", ""), "the address has left the node"


async def test_an_annotated_link_moves_the_tunnel() -> None:
    kept = Kept(Database({"ovn-encap-ip": "192.0.2.11", "ovn-encap-ip-default": "192.0.2.11"}))
    kept.scope.put("eth1", "", INTERNAL)
    await kept.loop.queue.close()
    assert await kept.look() == ("198.51.100.11", "198.51.100.11")
    kept.scope.put("", "", INTERNAL)
    assert await kept.look() == ("198.51.100.11", "198.51.100.11"), "it is right, and stays"


async def test_an_address_that_the_node_loses_is_followed_by_its_notification() -> None:
    """Nothing hinted this scope: the tunnel kept a lost address until the resync."""
    kept = Kept(Database({"ovn-encap-ip": "192.0.2.11", "ovn-encap-ip-default": "192.0.2.11"}))
    kept.scope.put("", "", (*INTERNAL, "198.51.100.11"))
    await kept.look()
    kept.database.by_link = {"eth1": ("198.51.100.11",)}
    for key in kept.of_addresses:
        kept.loop.queue.hint(key)
    await kept.loop.queue.close()
    assert set(kept.database.ids.values()) == {"198.51.100.11"}
