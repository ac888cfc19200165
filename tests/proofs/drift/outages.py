"""The outages: how a component of the node is stopped or frozen, and started again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from proofs.drift.environment import Environment
from proofs.drift.faults import OTHER_BRIDGE
from testbed import switch
from testbed.service import wait_for

IN_KERNEL = ("host veth deleted", "pod addresses flushed", "pod link set down")
IN_OVS = ("iface-id removed", "port removed from br-int", "host veth deleted")
UNPLUGGED = ("iface-id removed", "port removed from br-int")
TakeDown = Callable[[Environment, float], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Outage:
    """One component's outage.

    `take_down` stops the component and starts it again at its end; `faults` are injected in
    between. `seconds` is how long it stays down. With `repaired_during`, repairs are expected
    before it is back. Without `preserves_ovsdb`, the database is lost.
    """

    name: str
    take_down: TakeDown
    faults: tuple[str, ...]
    seconds: float = 1.0
    repaired_during: bool = False
    preserves_ovsdb: bool = True


@contextmanager
def _vswitchd_stopped(env: Environment, seconds: float) -> Iterator[None]:
    node = env.bed.node()
    node.service("ovs-vswitchd").stop()
    yield
    time.sleep(seconds)
    switch.start_vswitchd(node)


@contextmanager
def _ovsdb_stopped(env: Environment, seconds: float) -> Iterator[None]:
    node = env.bed.node()
    node.service("ovsdb-server").stop()
    yield
    time.sleep(seconds)
    switch.start_ovsdb(node)
    # ovs-vswitchd reconnects after 1, 2, 4 and 8 seconds; until then nothing can make a port.
    node.run(
        [
            "ovs-vsctl",
            "--timeout=20",
            "set",
            "bridge",
            OTHER_BRIDGE,
            f"other_config:back={time.monotonic_ns()}",
        ]
    )


@contextmanager
def _both_stopped(env: Environment, seconds: float) -> Iterator[None]:
    node = env.bed.node()
    node.service("ovs-vswitchd").stop()
    node.service("ovsdb-server").stop()
    yield
    time.sleep(seconds)
    switch.start_ovsdb(node)
    switch.start_vswitchd(node)


@contextmanager
def _controller_stopped(env: Environment, seconds: float) -> Iterator[None]:
    node = env.bed.node()
    node.service("ovn-controller").stop()
    yield
    time.sleep(seconds)
    assert env.bed.control
    switch.start_controller(node, env.bed.control)


def _frozen(name: str) -> TakeDown:
    @contextmanager
    def take_down(env: Environment, seconds: float) -> Iterator[None]:
        service = env.bed.node().service(name)
        service.send(signal.SIGSTOP)
        try:
            yield
            time.sleep(seconds)
        finally:
            service.send(signal.SIGCONT)

    return take_down


@contextmanager
def _api_stopped(env: Environment, seconds: float) -> Iterator[None]:
    plane, control = env.bed.control_plane, env.bed.control
    assert control
    control.service("kube-apiserver").stop()
    yield
    time.sleep(seconds)
    service = plane.start_apiserver(service_accounts=True)
    service.wait_ready(lambda: plane.answers(env.bed.api_url), timeout=60)


@contextmanager
def _agent_killed(env: Environment, seconds: float) -> Iterator[None]:
    """Kill the agent. kubelet starts the next one; the outage ends when its process exists.

    Without an agent, nothing is killed.
    """
    old = env.agent_pids()
    for pid in old:
        env.bed.node().run(["kill", "-KILL", str(pid)])
    yield
    time.sleep(seconds if not old else 0)
    if old:
        wait_for(lambda: set(env.agent_pids()) - set(old), "another agent", timeout=90, every=0.02)


@contextmanager
def _database_wiped(env: Environment, seconds: float) -> Iterator[None]:
    """Restart both daemons over an empty database, without bridges and without a chassis."""
    node = env.bed.node()
    node.service("ovs-vswitchd").stop()
    node.service("ovsdb-server").stop()
    node.sh("rm -f /etc/openvswitch/conf.db /etc/openvswitch/.conf.db.*")
    yield
    time.sleep(seconds)
    switch.start_ovsdb(node)
    node.vsctl("--no-wait", "init")
    switch.start_vswitchd(node)


@contextmanager
def nothing(_stage: Environment, _seconds: float) -> Iterator[None]:
    """Take nothing down."""
    yield


OUTAGES = [
    Outage("ovs-vswitchd restarted", _vswitchd_stopped, IN_KERNEL),
    Outage("ovs-vswitchd frozen for 60 s", _frozen("ovs-vswitchd"), IN_KERNEL, seconds=60),
    Outage("ovsdb-server restarted", _ovsdb_stopped, IN_KERNEL),
    Outage("ovsdb-server frozen for 60 s", _frozen("ovsdb-server"), IN_KERNEL, seconds=60),
    Outage("ovsdb-server and ovs-vswitchd restarted", _both_stopped, IN_KERNEL),
    Outage("ovn-controller restarted", _controller_stopped, IN_OVS),
    Outage("agent killed", _agent_killed, IN_OVS, seconds=0),
    Outage("API server away for 3 min", _api_stopped, IN_OVS, seconds=180, repaired_during=True),
    Outage("conf.db wiped", _database_wiped, ("pod addresses flushed",), preserves_ovsdb=False),
]
