"""The scopes of the chassis and of the CNI files: what they desire, keep and report."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kit.memory import Recorded
from ovnlet.core.chassis import BRIDGE_TYPE, ChassisIdentity, desired
from ovnlet.core.cni_directories import CniDirectories
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import ABSENT, Bridge, ChassisId, CniFile, CniSocket, Network, Resource
from ovnlet.core.settings import Repair, Settings
from ovnlet.drivers.ovs import hints
from ovnlet.reconcile.loop import Loop
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.owners import OwnerIndex
from ovnlet.reconcile.scopes.chassis import ChassisScope
from ovnlet.reconcile.scopes.cni_files import CniFilesScope

KEYS = {"system-id": "node-1", "ovn-remote": "tcp:192.0.2.1:6642", BRIDGE_TYPE: "netdev"}


@dataclass
class Things:
    """A host whose things a test changes by hand."""

    things: dict[object, Resource] = field(default_factory=dict)
    wanted: Network = ABSENT
    foreign: list[str] = field(default_factory=list)
    taken_over: list[str] = field(default_factory=list)
    taken: bool = False

    async def ready(self) -> None:
        return

    async def observe(self, _: object, __: Network) -> Network:
        return frozenset(self.things.values())

    async def apply(self, _: object, plan: Plan) -> None:
        for step in plan:
            if step.verb is Verb.ENSURE:
                self.things[step.resource.key] = step.resource
            else:
                del self.things[step.resource.key]

    def present(self) -> dict[str, str]:
        things = self.things.values()
        keys = {each.name: each.value for each in things if isinstance(each, ChassisId)}
        types = [each.datapath_type for each in things if isinstance(each, Bridge)]
        return keys | ({BRIDGE_TYPE: types[0]} if types else {})

    def put(self, network: Network) -> None:
        """Make the node have just this."""
        self.things = {resource.key: resource for resource in network}

    def socket_taken(self) -> bool:
        return self.taken

    def overriding(self) -> list[str]:
        return self.foreign

    def superseded(self) -> list[str]:
        return self.taken_over


@dataclass
class Inputs:
    kept: dict[str, str] = field(default_factory=dict)
    writes: int = 0

    def read(self) -> dict[str, str]:
        return self.kept

    def write(self, values: Mapping[str, str]) -> None:
        self.kept, self.writes = dict(values), self.writes + 1


class Chassis:
    """The loop with the scope of the chassis."""

    def __init__(
        self,
        host: Things,
        inputs: Inputs | None = None,
        given: dict[str, str] | None = None,
        mode: str = "manage",
        repair: Repair = "fix",
    ) -> None:
        self.loop, self.status = Loop(), Recorded("chassis")
        self.known: list[str] = []
        self.scope = ChassisScope(
            host,
            inputs or Inputs(),
            self.status,
            identity=ChassisIdentity("br-int"),
            given=given or {},
            mode="manage" if mode == "manage" else "observe",
            repair=repair,
            known_as=self.known.append,
        )
        self.loop.keep("chassis", self.scope)

    async def look(self) -> Outcome:
        outcome = await self.loop.reconcile(self.loop.passes("chassis").key("chassis"))
        assert outcome is not None
        return outcome


async def test_what_was_last_seen_is_restored_after_a_wipe_also_by_another_process() -> None:
    host, inputs = Things(), Inputs()
    host.put(desired("br-int", KEYS, create=True))
    assert not (await Chassis(host, inputs).look()).steps
    host.put(ABSENT)
    chassis = Chassis(host, inputs)
    assert (await chassis.look()).action == "repaired"
    assert host.present() == KEYS
    assert chassis.known == ["node-1"]
    assert not (await chassis.look()).steps
    assert inputs.writes == 1, "nothing new was seen"


async def test_a_value_that_somebody_changes_is_what_was_last_seen_unless_it_is_given() -> None:
    host = Things()
    host.put(desired("br-int", KEYS, create=True))
    chassis = Chassis(host, given={"ovn-remote": "tcp:192.0.2.1:6642"})
    await chassis.look()
    host.put(
        desired("br-int", {**KEYS, "ovn-remote": "tcp:nowhere:1", "system-id": "new"}, create=True)
    )
    await chassis.look()
    assert host.present() == {**KEYS, "system-id": "new"}


@pytest.mark.review2
@pytest.mark.parametrize("name", ["ovn_remote", "system_id"])
async def test_a_setting_comes_back_whoever_changes_it_f6(name: str) -> None:
    given = {"ovn_remote": "tcp:192.0.2.2:6642", "system_id": "node-1"}
    settings = Settings.of({"node_name": "n", name: given[name]})
    host = Things()
    host.put(desired("br-int", {**KEYS, **settings.chassis_ids}, create=True))
    chassis = Chassis(host, given=settings.chassis_ids)
    await chassis.look()
    (key,) = settings.chassis_ids
    host.put(desired("br-int", {**KEYS, key: "nonsense"}, create=True))
    assert [step.resource for step in (await chassis.look()).steps] == [ChassisId(key, given[name])]
    assert host.present()[key] == given[name]


@pytest.mark.review2
def test_the_host_name_is_a_chassis_key_f7() -> None:
    """Without it the Chassis takes the kernel's host name: no port that asks for the Node binds."""
    row = {"external_ids": {"hostname": "n0", "unknown": "x"}}
    assert hints.chassis_ids(row) == {"hostname": "n0"}


async def test_ovns_own_key_decides_the_type_of_the_bridge() -> None:
    host = Things()
    host.put(desired("br-int", {**KEYS, BRIDGE_TYPE: "system"}, create=True))
    given = {"ovn-bridge-datapath-type": "netdev"}
    await Chassis(host, given=given).look()
    assert host.present()[BRIDGE_TYPE] == "netdev"


async def test_a_fail_mode_that_forwards_without_flows_is_drift() -> None:
    host = Things()
    host.put(desired("br-int", KEYS, create=True))
    host.things[("bridge", "br-int")] = Bridge("br-int", "netdev", "standalone")
    assert [str(step) for step in (await Chassis(host).look()).steps] == [
        "~ Bridge br-int: fail_mode standalone -> secure"
    ]


@pytest.mark.parametrize(("mode", "repair"), [("observe", "fix"), ("manage", "report")])
async def test_it_is_only_reported_where_it_is_not_ours(mode: str, repair: Repair) -> None:
    host, inputs = Things(), Inputs(dict(KEYS))
    chassis = Chassis(host, inputs, mode=mode, repair=repair)
    for _ in range(2):
        outcome = await chassis.look()
        assert outcome.remaining
        assert not host.things
    assert [reason for _, reason, _ in chassis.status.events] == ["NetworkDrifted"]
    assert inputs.kept == KEYS


async def test_nothing_is_invented_on_a_node_that_nobody_has_set_up() -> None:
    host = Things()
    assert not (await Chassis(host).look()).desired
    assert not host.things


SOCKET = CniSocket("/run/openvswitch/kube-ovn-daemon.sock")
DIRECTORIES = CniDirectories("/opt/cni/bin", "/etc/cni/net.d", SOCKET.path)
PLUGIN = CniFile("/opt/cni/bin", "ovnlet", "aaaa", 0o755)
CONFLIST = CniFile("/etc/cni/net.d", "01-ovnlet.conflist", "bbbb", 0o600)


class Files:
    """The loop with the scope of the CNI files."""

    def __init__(self, host: Things, repair: Repair = "fix") -> None:
        self.loop, self.status = Loop(), Recorded("cni")
        host.wanted = frozenset({PLUGIN, CONFLIST})
        self.owners = OwnerIndex(self.loop.queue.hint)
        passes = self.loop.passes("cni")
        self.scope = CniFilesScope(
            host, DIRECTORIES, passes, self.status, owners=self.owners, repair=repair
        )
        self.loop.keep("cni", self.scope)
        self.key = passes.key("cni")

    async def look(self) -> Outcome | None:
        return await self.loop.reconcile(self.key)


async def test_nothing_is_written_before_start_up_is_over() -> None:
    host = Things()
    files = Files(host)
    assert list(files.scope.every_key()) == []
    assert await files.look() is None
    assert files.scope.missing_inputs("cni")
    files.scope.open()
    assert await files.look() is not None
    assert frozenset(host.things.values()) == {PLUGIN, CONFLIST}


async def test_a_file_that_somebody_removed_or_overwrote_comes_back_by_its_hint() -> None:
    host = Things()
    files = Files(host)
    files.scope.open()
    await files.look()
    host.things[CONFLIST.key] = CniFile("/etc/cni/net.d", "01-ovnlet.conflist", "torn", 0o644)
    del host.things[PLUGIN.key]
    files.owners.notify(("file", "/etc/cni/net.d"))
    await files.loop.queue.close()
    assert frozenset(host.things.values()) == {PLUGIN, CONFLIST}
    (event,) = [text for _, reason, text in files.status.events if reason == "NetworkRepaired"]
    assert "01-ovnlet.conflist" in event


async def test_to_report_makes_the_files_once_and_no_repair() -> None:
    host = Things()
    files = Files(host, repair="report")
    files.scope.open()
    await files.look()
    assert host.things, "start-up writes them whatever the setting says of drift"
    host.things.clear()
    outcome = await files.look()
    assert outcome is not None
    assert len(outcome.remaining) == 2
    assert not host.things


@pytest.mark.parametrize(
    ("things", "reason", "name"),
    [
        (Things(foreign=["00-other.conflist"]), "CniConfigOverridden", "00-other.conflist"),
        (Things(taken_over=["01-kube-ovn.conflist"]), "CniConfigTakenOver", "01-kube-ovn.conflist"),
    ],
)
async def test_the_order_of_files_is_reported_once(things: Things, reason: str, name: str) -> None:
    files = Files(things)
    files.scope.open()
    for _ in range(3):
        await files.look()
    (event,) = [text for _, found, text in files.status.events if found == reason]
    assert name in event


@pytest.mark.looptime
async def test_a_socket_that_another_process_answers_is_told_and_looked_at_again() -> None:
    """Nothing tells when it stops answering; then the socket is ours within a second."""
    host = Things(taken=True)
    files = Files(host)
    files.scope.open()
    await files.look()
    await files.look()
    events = [text for _, reason, text in files.status.events if reason == "CniSocketTaken"]
    assert len(events) == 1
    host.taken, host.wanted = False, host.wanted | {SOCKET}
    await asyncio.sleep(1.1)
    assert SOCKET.key in host.things
    await files.loop.queue.close()


async def test_the_spelling_of_the_bridges_own_socket_is_remembered_and_not_compared() -> None:
    host, inputs = Things(), Inputs({**KEYS, "ovn-bridge-remote": "unix:br-int.mgmt"})
    await Chassis(host, inputs).look()
    bridge = host.things[("bridge", "br-int")]
    assert isinstance(bridge, Bridge)
    assert bridge.remote == "unix:br-int.mgmt"
    assert "ovn-bridge-remote" not in host.present()
    foreign = {**KEYS, "ovn-bridge-remote": "tcp:127.0.0.1:6633"}
    await Chassis(Things(), Inputs(foreign)).look()
    host = Things()
    await Chassis(host, Inputs(foreign)).look()
    assert host.present() == foreign
