"""Faults on the way from one pod to another, each planted alone; `trace` must name it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from proofs.tools.operator import Operator
from proofs.tools.report import Report, Row
from testbed import deploy, layout
from testbed.service import BedError, wait_for
from testbed.workloads import PORT, SERVER, Cluster, Running, pod

# Stages, as `trace` calls them.
SENDER, ROUTE, OPENFLOW, LOGICAL, RECEIVER = (
    *("sender", "route", "OpenFlow"),
    *("logical network", "receiver"),
)


@dataclass(frozen=True, slots=True)
class Way:
    """A pod on each node, whose agents only report what differs."""

    ask: Operator
    sender: Running
    receiver: Running
    last: list[str]

    def trace(self, to: str = "", port: int = PORT) -> tuple[int, dict[str, object], float]:
        """Trace TCP; return exit code, verdict and wall time."""
        names = f"default/{self.sender.name}", to or f"default/{self.receiver.name}"
        # The control space is a host beside OVN's databases.
        command = " ".join(self.ask.bed.control_plane.space.enter(["ovn-trace"]))
        words = (names[0], "tcp", f"{names[1]}:{port}", f"--ovn-trace={command}", "-o", "json")
        ended = self.ask("trace", *words)
        assert ended.code in (0, 3), ended
        value = ended.json()
        self.last[:] = [f"{one['state']} {one['where']}: {one['what']}" for one in value["stages"]]
        return ended.code, value["verdict"], ended.seconds


@contextmanager
def _undone(do: Callable[[], object], undo: Callable[[], object]) -> Iterator[None]:
    do()
    try:
        yield
    finally:
        undo()


# The stage and a word that name it, how to plant it, and how to remove it.
Fault = tuple[str, str, Callable[[], object], Callable[[], object]]
SOME = (
    "a blackhole route to the receiver",
    "an ACL drops it",
    "a foreign flow drops it",
    "the receiver's interface is down",
)


def planted(way: Way) -> dict[str, Fault]:
    """Return each fault: the stage and a word that name it, how to plant and how to remove it."""
    bed, one, two = way.ask.bed, way.sender, way.receiver
    n0, n1 = one.space, two.space
    here, there = one.ips[0], two.ips[0]
    neighbour = ("neigh", "replace", "10.16.0.1", "lladdr", "02:00:00:00:00:99", "dev", "eth0")
    match = f"ip4.dst == {there} && tcp.dst == {PORT}"
    acl = ("ovn-default", "from-lport", "2000", match)
    inbound = ("ovn-default", "to-lport", "2000", match)
    flow = f"cookie=0x77,priority=65535,ip,nw_src={here},actions=drop"
    controller = n0.service("ovn-controller")
    return {
        "the sender has no default route": (
            *(SENDER, "+ Route"),
            lambda: one.inside("ip", "route", "del", "default"),
            lambda: _repaired(way.ask, one),
        ),
        "a wrong permanent neighbour": (
            *(SENDER, "02:00:00:00:00:99"),
            lambda: one.inside("ip", *neighbour, "nud", "permanent"),
            lambda: one.inside("ip", "neigh", "del", "10.16.0.1", "dev", "eth0"),
        ),
        "a blackhole route to the receiver": (
            *(SENDER, "blackhole"),
            lambda: one.inside("ip", "route", "add", "blackhole", there),
            lambda: one.inside("ip", "route", "del", "blackhole", there),
        ),
        "an ACL drops it": (
            *(LOGICAL, "ACL"),
            lambda: bed.nbctl("--wait=hv", "acl-add", *acl, "drop"),
            lambda: bed.nbctl("--wait=hv", "acl-del", *acl),
        ),
        "an ACL of the receiver's side drops it": (
            *(LOGICAL, "ls_out_acl"),
            lambda: bed.nbctl("--wait=hv", "acl-add", *inbound, "drop"),
            lambda: bed.nbctl("--wait=hv", "acl-del", *inbound),
        ),
        "a foreign flow drops it": (
            *(OPENFLOW, "drop"),
            lambda: n0.run(["ovs-ofctl", "add-flow", "br-int", flow]),
            lambda: n0.run(["ovs-ofctl", "del-flows", "br-int", "cookie=0x77/-1"]),
        ),
        "ovn-controller of the sender's node hangs": (
            *("node n0", "ovn-controller"),
            lambda: controller.send(signal.SIGSTOP),
            lambda: controller.send(signal.SIGCONT),
        ),
        "the receiver's interface is down": (
            *(RECEIVER, "eth0"),
            lambda: two.inside("ip", "link", "set", "eth0", "down"),
            lambda: _repaired(way.ask, two),
        ),
        "the tunnel of the receiver's node carries less": (
            *("node n1", "MTU"),
            lambda: n1.sh("ip link set br-ext mtu 1300"),
            lambda: n1.sh("ip link set br-ext mtu 1500"),
        ),
    }


def _repaired(ask: Operator, pod: Running) -> None:
    """Have the agent apply the pod's plan, as `trace` says, until no step is left."""
    agent = deploy.agent_pods(ask.bed, pod.space.role)[0]
    command = ("ovnlet", "apply", f"default/{pod.name}")

    def applied() -> bool:
        with suppress(BedError):
            ask.bed.kubectl("-n", deploy.NAMESPACE, "exec", agent, "--", *command)
            return True
        return False

    wait_for(applied, f"{' '.join(command)} leaves no step", timeout=60)


@contextmanager
def made(ask: Operator) -> Iterator[Way]:
    """Make a pod on each node, a Service with the receiver and one with nobody; remove them."""
    cluster = Cluster(ask.bed)
    bodies: list[dict[str, Any]] = []
    for name, node in (("sender", "n0"), ("target", "n1")):
        body = pod(name, **{"ovnlet.io/repair": "report"})
        body["metadata"]["labels"]["app"] = name
        body["spec"]["nodeName"] = node
        body["spec"]["containers"][0] |= SERVER
        bodies.append(body)
    services = [_service("nobody", "nobody"), _service("web", "target")]
    before = len(cluster.pods())
    cluster.apply(*bodies, *services)
    names = [f"pod/{body['metadata']['name']}" for body in bodies]
    ask.bed.kubectl("wait", "--for=condition=Ready", *names, "--timeout=180s", timeout=190)
    found = {each.name: each for each in cluster.running(before + 2, timeout=180)}
    way = Way(ask, found["sender"], found["target"], [])
    wait_for(lambda: way.sender.reaches(way.receiver.ips[0]), "the pods to meet", timeout=120)
    yield way
    for name in (*names, "service/nobody", "service/web"):
        ask.bed.kubectl("delete", name, "--force", "--grace-period=0")


def _service(name: str, app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": PORT}]},
    }


def traced(ask: Operator, report: Report, _: list[Running]) -> None:
    """Trace a sound way, then one with each fault, then the sound one again."""
    with made(ask) as way:
        _sound(way, report)
        for name, fault in planted(way).items():
            with report.apart():
                _named(way, report, name, fault)
        _nobody(way, report)
        with report.row("trace, nothing is wrong again") as row:
            code, verdict, row.seconds = wait_for(lambda: _right(way), "a sound way", timeout=120)
            row.record(str(verdict))
            assert code == 0


def some_traced(ask: Operator, report: Report, _: list[Running]) -> None:
    """Trace a sound way, and one with a fault of each part of the way."""
    with made(ask) as way:
        _sound(way, report)
        faults = planted(way)
        for name in SOME:
            with report.apart():
                _named(way, report, name, faults[name])
        _nobody(way, report)


def _sound(way: Way, report: Report) -> None:
    with report.row("trace, nothing is wrong") as row:
        code, verdict, row.seconds = wait_for(lambda: _right(way), "a sound way", timeout=120)
        row.record(*way.last)
        assert (code, verdict["works"]) == (0, True), verdict
        assert any("tunnel to " + layout.tunnel_ip(1) in line for line in way.last), way.last
        assert not any(line.startswith("left out") for line in way.last), way.last


def _named(way: Way, report: Report, name: str, fault: Fault) -> None:
    where, word, plant, remove = fault
    with report.row(f"trace: {name}") as row:
        _control(way, row)
        with _undone(plant, remove):
            _awaited(way, row, where, word)


def _awaited(way: Way, row: Row, where: str, word: str, port: int = PORT) -> None:
    """Wait until a trace names a stage and a word.

    Under load an earlier stage may be at fault once: a daemon that does not answer in time.
    """

    def look() -> bool:
        code, verdict, row.seconds = way.trace(port=port)
        row.evidence[1:] = [str(verdict), *way.last]
        return (code, verdict["where"]) == (3, where) and word in str(verdict["what"])

    wait_for(look, f"{where}: {word}", timeout=120)


def _control(way: Way, row: Row, to: str = "") -> None:
    """Wait until a trace without the fault names nothing."""
    wait_for(lambda: _right(way, to), "a sound way without the fault", timeout=120)
    assert not any(line.startswith("fault") for line in way.last), way.last
    row.record("control: without it, nothing is named")


def _nobody(way: Way, report: Report) -> None:
    """Trace to a port that nobody listens on, and to a Service without endpoints."""
    with report.row("trace: nothing listens on the port") as row:
        _control(way, row)
        _awaited(way, row, RECEIVER, f"tcp port {PORT + 1}", port=PORT + 1)
    with report.row("trace: a Service without endpoints") as row:
        _control(way, row, to="default/web")
        code, verdict, row.seconds = way.trace(to="default/nobody")
        row.record(str(verdict))
        assert (code, verdict["where"]) == (3, "Service"), verdict


def _right(way: Way, to: str = "") -> tuple[int, dict[str, object], float] | None:
    found = way.trace(to)
    return None if found[0] else found
