"""The way out: what leaves the cluster by a node bears its address, and what stays inside does not."""

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
# Says to each who connects what it sees of them, and then whatever they say.
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
# Prints what the other end sees, then answers each line with what came back.
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
    """Outside of the cluster's network, on both families."""
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
    """The pods' Subnet with natOutgoing; as it was thereafter."""
    patch(cluster, nat=True)
    yield
    patch(cluster, nat=False)


def patch(cluster: Cluster, *, nat: bool) -> None:
    cluster.bed.kubectl(
        "patch", "subnet", SUBNET, "--type=merge", "-p", json.dumps({"spec": {"natOutgoing": nat}})
    )


def seen(each: Running, address: str) -> str:
    """As whom the other end sees the pod; empty where it does not at all."""
    words = ["nsenter", f"--net={each.netns}", "python3", "-c", SPEAK, address, str(PORT)]
    return each.space.result(words, timeout=30).stdout.strip()


def table(node: Space) -> str:
    return node.result(["nft", "list", "table", "inet", "ovnlet"]).stdout


def test_what_leaves_the_cluster_bears_the_nodes_address(cluster: Cluster, outgoing: None) -> None:
    cluster.apply(pod("goes"), pod("stays"))
    goes, stays = sorted(cluster.running(2), key=lambda each: each.name)
    (node,) = (each for each in cluster.bed.nodes if each.role == goes.space.role)
    with listening(cluster) as addresses:
        for address, bears in zip(addresses, (node.ip, node.ip6), strict=True):
            wait_for(
                partial(lambda to, who: seen(goes, to) == who, address, bears),
                f"{bears} outside",
                timeout=SOON,
            )
        words = ["nsenter", f"--net={goes.netns}", "python3", "-c", SPEAK, addresses[0], str(PORT)]
        talk = goes.space.popen(words)
        assert talk.stdin
        assert talk.stdout
        assert talk.stdout.readline().strip() == node.ip
        whole = table(node)
        for damage in ("delete table inet ovnlet", "insert rule inet ovnlet postrouting return"):
            node.run(["nft", *damage.split()])
            began = time.monotonic()
            wait_for(
                lambda: table(node) == whole, f"the repair of {damage}", timeout=SOON, every=0.01
            )
            print(f"{damage}: whole again {1000 * (time.monotonic() - began):.0f} ms later")
        talk.stdin.write("still there\n")
        talk.stdin.flush()
        assert talk.stdout.readline().strip() == "still there", (
            "a connection keeps the address it has"
        )
        talk.kill()
        talk.wait(10)
    server = stays.space.popen(
        ["nsenter", f"--net={stays.netns}", "python3", "-c", LISTEN, stays.ips[0], str(PORT)]
    )
    try:
        wait_for(
            lambda: seen(goes, stays.ips[0]) == goes.ips[0],
            "the pod's own address inside",
            timeout=SOON,
        )
    finally:
        server.kill()
        server.wait(10)


def test_without_it_nothing_is_translated_and_no_table_is_left(
    cluster: Cluster, outgoing: None
) -> None:
    wait_for(lambda: "masquerade" in table(cluster.node), "the table", timeout=SOON)
    patch(cluster, nat=False)
    wait_for(lambda: not table(cluster.node), "the end of the table", timeout=SOON)
    cluster.apply(pod("goes"))
    (goes,) = cluster.running(1)
    assert not goes.reaches(layout.CONTROL_IP), "nobody outside knows the way to a pod"
