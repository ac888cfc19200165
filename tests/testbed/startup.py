"""The start of a bed: each part waits for what it needs, and all others start meanwhile."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import clean, images, layout, pki, raft, runtime, switch, underlay
from testbed.node import Node
from testbed.space import Space

if TYPE_CHECKING:
    from testbed.bed import Bed

OWN_CODE = {"PYTHONPATH": str(Path(__file__).parents[1])}


class Tasks:
    """Work in threads; the first failure or an interrupt removes the bed, ending all waiting."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.pool = ThreadPoolExecutor(16)
        self.all: list[Future[Any]] = []

    def submit(self, wanted: bool, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start work, which itself waits for the futures among its arguments.

        What is not wanted counts as done, with the result None.
        """
        self.all.append(self.pool.submit(work, self.bed, *arguments) if wanted else _done(None))
        return self.all[-1]

    def finish(self) -> None:
        """Wait for all tasks; on the first failure remove the bed and raise it."""
        with self.pool:
            try:
                for task in as_completed(self.all):
                    task.result()
            except BaseException:
                clean.remove(self.bed.name)
                raise


@dataclass(frozen=True, slots=True)
class Prerequisites:
    """What the parts of a node wait for."""

    spaces: Future[None]
    keys: Future[None]
    api: Future[None]
    central: Future[Space]


def start(bed: Bed) -> None:
    """Start every part of the bed, and return when all are ready."""
    tasks, parts = Tasks(bed), bed.parts
    controlled = bool(parts & layout.CONTROL_PARTS)
    spaces = tasks.submit(True, _spaces)
    keys = tasks.submit(controlled, _keys)
    api = tasks.submit(controlled, _control_plane, spaces, keys)
    central = tasks.submit(bool(parts & {layout.OVN, layout.CENTRAL}), _central, spaces)
    tasks.submit(layout.RAFT in parts, _raft, spaces)
    tasks.submit(layout.ASSIGN in parts, _assign, api, central)
    for index in range(bed.node_count):
        _node(tasks, index, Prerequisites(spaces, keys, api, central))
    tasks.finish()


def reboot(bed: Bed, index: int) -> None:
    """Cut a node's power and start it again.

    All namespaces and everything under /run are lost; the files of its disks are kept.
    """
    bed.nodes[index].destroy()
    clean.remove_groups(bed.nodes[index].name)
    node = bed.nodes[index] = Node.create(
        bed.name, f"n{index}", cgroups=layout.KUBELET in bed.parts
    )
    if bed.control and bed.networked:
        underlay.lay_node(bed.control, node, index, tunnel=bed.node_count > 1)
    tasks = Tasks(bed)
    _node(tasks, index, Prerequisites(_done(None), _done(None), _done(None), _done(bed.control)))
    tasks.finish()


def _node(tasks: Tasks, index: int, needed: Prerequisites) -> None:
    """Start all parts of one node."""
    parts = tasks.bed.parts
    switched = tasks.submit(bool(parts & {layout.OVS, layout.OVN}), _switch, needed.spaces, index)
    tasks.submit(layout.OVN in parts, _chassis, switched, needed.central, index)
    contained = tasks.submit(layout.KUBELET in parts, _containerd, needed.spaces, index)
    registered = tasks.submit(layout.KUBELET in parts, _kubelet, needed, contained, index)
    tasks.submit(layout.PROXY in parts, _proxy, needed.api, registered, index)


def _done(result: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(result)
    return done


def _keys(bed: Bed) -> None:
    bed.ids.create([f"n{index}" for index in range(bed.node_count)])


def _spaces(bed: Bed) -> None:
    """Create all spaces and the links between them."""
    cgroups = layout.KUBELET in bed.parts
    tunnels = bed.node_count > 1
    if bed.parts & layout.CONTROL_PARTS or bed.networked:
        bed.control = Space.create(bed.name, layout.CONTROL, network=bed.networked)
    bed.nodes = [
        Node.create(bed.name, f"n{index}", cgroups=cgroups) for index in range(bed.node_count)
    ]
    if bed.control and bed.networked:
        underlay.lay_control(bed.control, tunnels=tunnels)
        for node in bed.nodes:
            underlay.lay_node(bed.control, node, node.index, tunnel=tunnels)
    bed.say(f"{len(bed.nodes)} node space(s)" + ", control space" * bool(bed.control))


def _control_plane(bed: Bed, spaces: Future[None], keys: Future[None]) -> None:
    keys.result()
    spaces.result()
    plane = bed.control_plane
    if layout.ETCD in bed.parts:
        plane.start_etcd()
    if layout.APISERVER in bed.parts:
        service = plane.start_apiserver(service_accounts=layout.MANAGER in bed.parts)
        if bed.networked:
            words = [sys.executable, "-m", "testbed.forward", str(bed.api_port)]
            plane.space.spawn("forward", words, env=OWN_CODE, network=False)
        service.wait_ready(lambda: plane.answers(bed.api_url), timeout=60)
        bed.say("API server ready")
    if layout.MANAGER in bed.parts:
        plane.start_manager()
    if layout.SCHEDULER in bed.parts:
        plane.start_scheduler()


def _central(bed: Bed, spaces: Future[None]) -> Space:
    pki.issue(bed.directory, [f"n{index}" for index in range(bed.node_count)])
    spaces.result()
    assert bed.control
    switch.start_central(bed.control, reachable=bed.networked)
    bed.say("OVN central ready")
    return bed.control


def _raft(bed: Bed, spaces: Future[None]) -> None:
    spaces.result()
    raft.create(bed)
    bed.say("OVN's databases ready: a cluster of three")


def _assign(bed: Bed, api: Future[None], central: Future[Space]) -> None:
    """Start the stand-in for the controller.

    A test that wants a slower one stops it and starts its own.
    """
    api.result()
    central.result().spawn(
        "assign", [sys.executable, "-m", "testbed.assign", bed.name], env=OWN_CODE
    )


def _switch(bed: Bed, spaces: Future[None], index: int) -> Node:
    spaces.result()
    node = bed.nodes[index]
    node.start_switch(tunnel=bed.node_count > 1)
    bed.say(f"{node.role}: Open vSwitch ready")
    return node


def _chassis(bed: Bed, switched: Future[Node], central: Future[Space], index: int) -> None:
    switch.start_controller(switched.result(), central.result())
    bed.say(f"n{index}: chassis registered")


def _containerd(bed: Bed, spaces: Future[None], index: int) -> Node:
    spaces.result()
    node = bed.nodes[index]
    runtime.start_containerd(node)
    for archive in images.archives():
        runtime.import_image(node, archive)
    bed.say(f"{node.role}: containerd ready, images imported")
    return node


def _kubelet(bed: Bed, needed: Prerequisites, contained: Future[Node], index: int) -> None:
    """Start kubelet before the API server is ready.

    It spends its first five seconds on asking for a Docker that is not there.
    """
    needed.keys.result()
    node = contained.result()
    service = runtime.start_kubelet(node, bed.control_plane, f"{node.ip},{node.ip6}")
    needed.api.result()
    asked = (
        "get",
        "node",
        node.role,
        "--ignore-not-found",
        "--output=jsonpath={.status.nodeInfo.bootID}",
    )
    service.wait_ready(lambda: bed.kubectl(*asked) == node.boot_id, timeout=60)
    bed.say(f"{node.role}: kubelet registered")


def _proxy(bed: Bed, api: Future[None], registered: Future[None], index: int) -> None:
    """Start kube-proxy once its Node exists, for which it asks at growing intervals."""
    api.result()
    registered.result()
    node = bed.nodes[index]
    service = runtime.start_proxy(node, bed.control_plane)
    service.wait_ready(
        lambda: layout.API_SERVICE_IP in node.run(["iptables-save", "--table=nat"]), timeout=60
    )
    bed.say(f"{node.role}: kube-proxy ready")


def free_ports() -> tuple[int, int]:
    """Return two ports of the loopback that are free now."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        return one.getsockname()[1], other.getsockname()[1]
