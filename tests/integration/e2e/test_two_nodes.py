"""Two nodes with kubelet and the agent: pods meet through the tunnel, and nodes reach all pods."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Self

import pytest

from testbed import deploy, layout, switch, underlay
from testbed.node import Node
from testbed.service import BedError, Service, wait_for
from testbed.space import Inside
from testbed.workloads import PORT, Cluster, Running, web

ROUNDS = 10
# Seconds. ovn-controller tries to connect 1, 3 and 7 s after a crash.
WITHIN, AWAY, CRASHED = 1.0, 0.5, 3.3


@pytest.mark.long
def test_pods_of_two_nodes_meet_through_the_tunnel(pair: Cluster) -> None:
    pair.apply(web("here", "n0"), web("there", "n1"))
    here, there = pair.ready("here", "there")
    assert (here.space.role, there.space.role) == ("n0", "n1")
    for one, other in ((here, there), (there, here)):
        for address in other.ips:
            wait_for(partial(one.reaches, address), f"{address} through the tunnel", timeout=20)
        # The largest packets that a pod may send.
        for address, size in zip(other.ips, (1372, 1352), strict=True):
            one.inside("ping", "-n", "-q", "-c3", "-i0.1", "-W1", f"-s{size}", "-Mdo", address)
        url = f"http://{other.ips[0]}:{PORT}/index.html"
        assert one.inside("busybox", "wget", "-q", "-T", "5", "-O", "-", url) == "well\n"
    for node in pair.bed.nodes:
        for address in (*here.ips, *there.ips):
            node.run(["ping", "-n", "-q", "-c1", "-W2", address])
    assert layout.tunnel_ip(1) in pair.node.sh(
        "ovs-vsctl --bare --columns=options find Interface type=geneve"
    )
    pair.clear()


@pytest.mark.long
@pytest.mark.review2
def test_the_api_servers_proxy_reaches_pods_of_both_nodes_k10(pair: Cluster) -> None:
    pair.apply(web("here", "n0"), web("there", "n1"))
    pair.ready("here", "there")
    underlay.route_pods(pair.bed.control_plane.space)
    for name in ("here", "there"):
        path = f"/api/v1/namespaces/default/pods/{name}:{PORT}/proxy/index.html"
        assert pair.bed.kubectl("get", "--raw", path).strip() == "well"
    underlay.unroute_pods(pair.bed.control_plane.space)
    pair.clear()


@dataclass(slots=True)
class Answers:
    """A ping of one packet every 20 ms, and when its answers came, in seconds since boot."""

    process: Inside
    times: list[float] = field(default_factory=list)

    @classmethod
    @contextmanager
    def between(cls, one: Running, other: Running) -> Iterator[Self]:
        """Run it, once an answer has come."""
        process = one.popen("ping", "-n", "-i", "0.02", other.ips[0])
        answers = cls(process)
        reader = Thread(target=answers._read, daemon=True)
        reader.start()
        wait_for(lambda: answers.times, "an answer")
        yield answers
        process.send_signal(signal.SIGINT)
        process.wait(10)
        reader.join(10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "icmp_seq" in line and "ttl" in line:
                self.times.append(time.clock_gettime(time.CLOCK_BOOTTIME))

    def after(self, began: float, timeout: float = 30) -> float | None:
        """Return the seconds from then to the first answer; None without one."""
        try:
            wait_for(lambda: self.times[-1] > began, "an answer", timeout)
        except BedError:
            return None
        return round(next(each for each in self.times if each > began) - began, 2)


def _reload(node: Node) -> float:
    """Restart ovs-vswitchd as an operator does; return when its process began."""
    return _began(switch.reload_vswitchd(node))


def _crash(node: Node) -> float:
    """Kill ovs-vswitchd, and start it while ovn-controller waits until it connects again."""
    node.service("ovs-vswitchd").kill()
    time.sleep(CRASHED)
    return _began(switch.start_vswitchd(node))


def _began(service: Service) -> float:
    """Return when a process began, in seconds since boot (proc(5), starttime)."""
    return service.began / os.sysconf("SC_CLK_TCK")


def _returns(
    pair: Cluster, act: Callable[[Node], float], rounds: int = ROUNDS
) -> list[float | None]:
    """Do it to the second node; return the seconds from ovs-vswitchd to traffic."""
    here, there = pair.ready("here", "there")
    times = []
    for _ in range(rounds):
        with Answers.between(here, there) as answers:
            times.append(answers.after(act(pair.bed.node(1))))
    return times


@contextmanager
def _stopped_agent(node: Node) -> Iterator[None]:
    pids = [str(pid) for pid in deploy.agent_processes(node)]
    assert pids
    node.run(["kill", "-STOP", *pids])
    try:
        yield
    finally:
        node.run(["kill", "-CONT", *pids])


@pytest.mark.long
@pytest.mark.review2
def test_the_tunnel_is_back_within_a_second_of_vswitchd_k10(pair: Cluster) -> None:
    """K10: ten restarts by the packages' script, and ten crashes. Control: one without agent.

    The script restores the flows. After a crash the agent makes ovn-controller connect at once,
    which by itself waits for up to 8 s.
    """
    pair.apply(web("here", "n0"), web("there", "n1"))
    pair.ready("here", "there")
    reloads, crashes = _returns(pair, _reload), _returns(pair, _crash)
    print("seconds from ovs-vswitchd's start to traffic, restarted by its script:", reloads)
    print("the same after a crash:", crashes)
    with _stopped_agent(pair.bed.node(1)):
        (alone,) = _returns(pair, _crash, 1)
    print("control, the agent stopped:", alone)
    pair.clear()
    assert alone is None or alone > WITHIN
    assert [each for each in (*reloads, *crashes) if each is None or each > WITHIN] == []


def _without_vswitchd(pair: Cluster) -> float:
    """Stop ovs-vswitchd on the second node, have the first ask for its tunnel's MAC, start it.

    Return the seconds from its return until OVN has installed flows again.
    """
    asking, node = pair.node, pair.bed.node(1)
    node.service("ovs-vswitchd").stop()
    asking.sh(f"ip neigh flush dev {switch.TUNNEL_BRIDGE}")
    asking.result(["ping", "-n", "-q", "-c1", "-W1", layout.tunnel_ip(1)])
    time.sleep(AWAY)
    switch.start_vswitchd(node)
    began = time.monotonic()
    # ovn-controller tries to connect to the bridge again after 1, 2, 4 and 8 s (lib/rconn.c).
    count = ["ovs-ofctl", "dump-aggregate", switch.INTEGRATION]
    # A bridge that is not there yet has no answer.
    flows = partial(re.search, r"flow_count=[1-9]")
    wait_for(lambda: flows(node.result(count).stdout), "OVN's flows", every=0.02)
    return time.monotonic() - began


def _back(one: Running, other: Running, within: float) -> float | None:
    """Return after how many seconds one pod reaches the other; None if it does not in time."""
    began = time.monotonic()
    try:
        wait_for(partial(one.reaches, other.ips[0]), "traffic", timeout=within, every=0.02)
    except BedError:
        return None
    return time.monotonic() - began


def _answer_arp(node: Node, ignore: int) -> None:
    """Let the kernel answer ARP for all addresses of the node on the tunnel's link, or for none."""
    node.sh(f"sysctl -qw net.ipv4.conf.eth1.arp_ignore={ignore}")


@pytest.mark.long
@pytest.mark.review2
def test_the_tunnel_survives_vswitchds_absence_k10(pair: Cluster) -> None:
    """K10: traffic within a second of OVN's flows, ten times. Control: the kernel answers ARP.

    Until OVN has installed its flows nothing is forwarded: that wait is ovn-controller's back-off.
    """
    pair.apply(web("here", "n0"), web("there", "n1"))
    here, there = pair.ready("here", "there")
    wait_for(partial(here.reaches, there.ips[0]), "the tunnel", timeout=20)
    flows, times = [], []
    for _ in range(ROUNDS):
        flows.append(_without_vswitchd(pair))
        times.append(_back(here, there, 10))
    print("seconds from ovs-vswitchd's return to OVN's flows:", flows)
    print("seconds from those to traffic:", times)
    _answer_arp(pair.bed.node(1), 0)
    _without_vswitchd(pair)
    poisoned = _back(here, there, 4)
    _answer_arp(pair.bed.node(1), 8)
    pair.node.run(["ovs-appctl", "tnl/neigh/flush"])
    healed = _back(here, there, 20)
    print(f"control: {poisoned} s, once the wrong MAC is forgotten {healed} s")
    pair.clear()
    assert [each for each in times if each is not None and each <= WITHIN] == times
    assert poisoned is None
    assert healed is not None
