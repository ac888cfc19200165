"""Outgoing NAT: traffic out of the cluster has the node's address, traffic inside has the pod's."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from testbed import layout
from testbed.service import wait_for
from testbed.space import Space
from testbed.workloads import Cluster, Running, pod

SUBNET = "ovn-default"
SOON = 20.0
PORT = 5151
# Sends each client the address that it sees, and then echoes what the client sends.
LISTEN = """
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
def serve(link, peer):
    link.sendall(peer.encode().ljust(64))
    while data := link.recv(4096):
        link.sendall(data)
with socket.create_server((sys.argv[1], int(sys.argv[2])), family=family) as server:
    while True:
        link, peer = server.accept()
        threading.Thread(target=serve, args=(link, peer[0]), daemon=True).start()
"""
# Prints the address that the other end sees, then for each line of input what came back.
SPEAK = """
import socket, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
print(link.recv(64, socket.MSG_WAITALL).decode().strip(), flush=True)
for line in sys.stdin:
    link.sendall(line.encode())
    print(link.recv(4096).decode().strip(), flush=True)
"""


@contextmanager
def listening(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Run servers outside the cluster's network, one for each family, and give their addresses."""
    outside = cluster.bed.control_plane.space
    addresses = (layout.CONTROL_IP, layout.CONTROL_IP6)
    processes = [
        outside.popen(["python3", "-c", LISTEN, address, str(PORT)]) for address in addresses
    ]
    try:
        yield addresses
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


@pytest.fixture
def outgoing(cluster: Cluster) -> Iterator[None]:
    """Set natOutgoing in the pods' Subnet for the test."""
    set_nat(cluster, nat=True)
    yield
    set_nat(cluster, nat=False)


def set_nat(cluster: Cluster, *, nat: bool) -> None:
    cluster.bed.kubectl(
        "patch", "subnet", SUBNET, "--type=merge", "-p", json.dumps({"spec": {"natOutgoing": nat}})
    )


def seen(each: Running, address: str) -> str:
    """Return the pod's address as the other end sees it, empty if they do not connect."""
    words = each.enter("python3", "-c", SPEAK, address, str(PORT))
    return each.space.result(words, timeout=30).stdout.strip()


def table(node: Space) -> str:
    """Return the agent's nftables table without its counters' figures, empty if there is none."""
    return node.result(["nft", "-s", "list", "table", "inet", "ovnlet"]).stdout


def translated(node: Space) -> bool:
    """Return whether the table has prefixes whose source is translated."""
    listed = node.result(["nft", "list", "set", "inet", "ovnlet", "nat4"]).stdout
    return "elements" in listed


def test_what_leaves_the_cluster_has_the_nodes_address(cluster: Cluster, outgoing: None) -> None:
    cluster.apply(pod("goes"), pod("stays"))
    goes, stays = sorted(cluster.running(2), key=lambda each: each.name)
    (node,) = (each for each in cluster.bed.nodes if each.role == goes.space.role)
    with listening(cluster) as addresses:
        for address, source in zip(addresses, (node.ip, node.ip6), strict=True):
            wait_for(
                partial(lambda to, expected: seen(goes, to) == expected, address, source),
                f"{source} outside",
                timeout=SOON,
            )
        speaker = goes.popen("python3", "-c", SPEAK, addresses[0], str(PORT))
        assert speaker.stdin
        assert speaker.stdout
        assert speaker.stdout.readline().strip() == node.ip
        whole = table(node)
        for damage in ("delete table inet ovnlet", "insert rule inet ovnlet postrouting return"):
            node.run(["nft", *damage.split()])
            began = time.monotonic()
            wait_for(
                lambda: table(node) == whole, f"the repair of {damage}", timeout=SOON, every=0.01
            )
            print(f"{damage}: whole again {1000 * (time.monotonic() - began):.0f} ms later")
        speaker.stdin.write("still there\n")
        speaker.stdin.flush()
        assert speaker.stdout.readline().strip() == "still there", (
            "an open connection keeps its address"
        )
        speaker.kill()
        speaker.wait(10)
    server = stays.popen("python3", "-c", LISTEN, stays.ips[0], str(PORT))
    try:
        wait_for(
            lambda: seen(goes, stays.ips[0]) == goes.ips[0],
            "the pod's own address inside",
            timeout=SOON,
        )
    finally:
        server.kill()
        server.wait(10)


def test_without_it_nothing_is_translated(cluster: Cluster, outgoing: None) -> None:
    wait_for(lambda: translated(cluster.node), "the prefixes", timeout=SOON)
    set_nat(cluster, nat=False)
    wait_for(lambda: not translated(cluster.node), "no prefixes", timeout=SOON)
    cluster.apply(pod("goes"))
    (goes,) = cluster.running(1)
    assert not goes.reaches(layout.CONTROL_IP), "a pod's address has no route outside"
