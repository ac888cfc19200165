"""The node's own interface: kubelet's probes, hostPort, repair, and the Node's condition."""

import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from testbed import deploy
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import HOST_PORT, OVN, PORT, Cluster, Running, web

SOON = 20.0
# Four only (the node floor has more): each takes some repairs on a busy machine, and the agent
# backs off after ten in quick succession.
DAMAGES = (
    "ip link del ovn0",
    "ip link set ovn0 down",
    # ip exits with 255 where addresses come back as fast as it deletes them.
    "ip addr flush dev ovn0 || [ $? = 255 ]",
    "ip route del 10.16.0.0/16",
)


def reaches(cluster: Cluster, each: Running) -> bool:
    """Return whether the node reaches a pod by both families."""
    words = " && ".join(f"ping -n -q -c1 -W0.3 {address} >/dev/null" for address in each.ips)
    return cluster.node.result(["sh", "-c", words]).returncode == 0


def test_probes_turn_ready_and_host_and_pod_reach_each_other(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.apply(web("web"))
    (each,) = cluster.ready("web")
    print(f"Ready by HTTP, TCP and exec {time.monotonic() - began:.1f} s after kubectl apply began")
    wait_for(lambda: reaches(cluster, each), "the pod from the node", timeout=SOON)
    node = cluster.bed.node()
    for address in (*_global(cluster), node.ip, node.ip6):
        wait_for(partial(each.reaches, address), f"{address} from the pod", timeout=SOON)
    looked = time.monotonic()
    wait_for(lambda: time.monotonic() - looked > 3, "three periods of the probes")
    (status,) = cluster.pods()[0]["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0)


def test_a_forwarded_port_and_a_host_port_answer(cluster: Cluster) -> None:
    cluster.apply(web("web"))
    (each,) = cluster.ready("web")
    outside = cluster.bed.control_plane.space
    with _forwarded(cluster.bed, each) as port:
        assert (
            outside.run(
                ["busybox", "wget", "-q", "-T", "5", "-O", "-", f"http://127.0.0.1:{port}/"]
            )
            == "well\n"
        )
    url = f"http://{cluster.bed.node().ip}:{HOST_PORT}/index.html"
    assert outside.run(["busybox", "wget", "-q", "-T", "5", "-O", "-", url]) == "well\n"


@contextmanager
def _forwarded(bed: Bed, each: Running) -> Iterator[int]:
    words = [
        "kubectl",
        f"--kubeconfig={bed.inner_kubeconfig}",
        "port-forward",
        f"pod/{each.name}",
        f":{PORT}",
    ]
    process = bed.control_plane.space.popen([*words, "--address=127.0.0.1"])
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+) ->", process.stdout.readline())
        assert found
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(10)


def test_damage_is_repaired_in_place(cluster: Cluster) -> None:
    cluster.apply(web("web"))
    (each,) = cluster.ready("web")
    before = deploy.agent_processes(cluster.node)
    times = []
    for damage in DAMAGES:
        cluster.node.sh(damage)
        began = time.monotonic()
        wait_for(
            lambda: _whole(cluster) and reaches(cluster, each),
            f"the repair of {damage}",
            timeout=SOON,
            every=0.01,
        )
        times.append(time.monotonic() - began)
        print(f"{damage}: whole again {1000 * times[-1]:.0f} ms later")
    assert statistics.median(times) < 3, times
    assert deploy.agent_processes(cluster.node) == before, "the agent was restarted"


def _whole(cluster: Cluster) -> bool:
    shown = cluster.node.result(["ip", "-j", "link", "show", "ovn0"]).stdout
    (link,) = json.loads(shown or "[{}]")
    if (
        not link
        or "UP" not in link["flags"]
        or (link["mtu"], link["address"]) != (1400, _annotation(cluster, "mac_address"))
    ):
        return False
    routes = cluster.node.sh(
        "ip route show dev ovn0 proto 157; ip -6 route show dev ovn0 proto 157"
    ).splitlines()
    ids = cluster.node.sh("ovs-vsctl --if-exists get Interface ovn0 external_ids")
    return len(routes) == 4 and len(_global(cluster)) == 2 and "iface-id=node-n0" in ids


def _global(cluster: Cluster) -> list[str]:
    (link,) = json.loads(cluster.node.run(["ip", "-j", "address", "show", "ovn0"]))
    return [entry["local"] for entry in link["addr_info"] if entry["scope"] == "global"]


def _annotation(cluster: Cluster, key: str) -> str:
    node = json.loads(cluster.bed.kubectl("get", "node", "n0", "-o", "json"))
    return str(node["metadata"]["annotations"][f"{OVN}/{key}"])


def test_the_nodes_condition_says_whether_its_network_is_available(cluster: Cluster) -> None:
    assert _unavailable(cluster)["status"] == "False"
    (controller,) = map(str, deploy.controller_processes(cluster.node))
    cluster.node.run(["kill", "-STOP", controller])  # it would restore the port at once
    try:
        cluster.bed.nbctl("lsp-del", "node-n0")
        wait_for(lambda: _unavailable(cluster)["status"] == "True", "the condition", timeout=SOON)
        assert _unavailable(cluster)["reason"] == "NodeInterfaceFailed"
    finally:
        cluster.node.run(["kill", "-CONT", controller])
    wait_for(lambda: _unavailable(cluster)["status"] == "False", "the condition", timeout=60)


def _unavailable(cluster: Cluster) -> dict[str, str]:
    node = json.loads(cluster.bed.kubectl("get", "node", "n0", "-o", "json"))
    (found,) = [
        each for each in node["status"]["conditions"] if each["type"] == "NetworkUnavailable"
    ]
    return dict(found)
