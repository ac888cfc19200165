"""Many Services: how long an endpoint's change takes, what a restart costs, and memory."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from proofs.bench.measures import Measure, median
from testbed import deploy, layout, progress, startup
from testbed.bed import Bed
from testbed.service import wait_for

PREFIX = "services:"
PARTS = {layout.ETCD, layout.APISERVER, layout.OVN, layout.OVS}
SERVICES = "/api/v1/namespaces/default/services"
# Kubernetes 1.20 has only the older version.
SLICES = "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices"
NUMBER = 8080
CHANGES = 30
MOVED = "10.17.200.{}"  # addresses that no endpoint has at first
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How many Services, and how many endpoints each of them has."""

    services: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class Controller:
    """A running controller."""

    process: subprocess.Popen[bytes]
    listen: str

    @property
    def passes(self) -> int:
        """The number of passes of Services that succeeded."""
        with urllib.request.urlopen(f"http://{self.listen}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        name = 'ovnlet_controller_passes_total{kind="service"} '
        return next((int(float(each[len(name) :])) for each in lines if each.startswith(name)), 0)

    @property
    def mib(self) -> float:
        """The resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def run(name: str, size: Size) -> list[Measure]:
    """Measure on a bed of its own: API server, OVN's databases and one chassis. Return the rows."""
    what = f"{size.services} Services with {size.endpoints} endpoints"
    with Bed.up(name, nodes=1, parts=PARTS) as bed:
        _prepare(bed)
        with progress.step(f"create {what}"):
            _create(bed, size)
        with (
            progress.step("the first start, in an empty northbound"),
            _controller(bed) as controller,
        ):
            first = _listed(bed, size)
            _bind(bed)
            rows = [Measure(f"{PREFIX} first start with {what}", round(first, 1), "s", None)]
            with progress.step(f"{CHANGES} changes of one endpoint"):
                rows += _changes(bed, size)
            rows += [Measure(f"{PREFIX} RSS with {what}", round(controller.mib, 1), "MiB", None)]
        with progress.step("a restart"):
            return [*rows, *_restart(bed, size, what)]


def _prepare(bed: Bed) -> None:
    manifests = deploy.PROJECT / "manifests"
    for file in ("base/namespace.yaml", "standalone/subnet.yaml", "standalone/ippool.yaml"):
        bed.kubectl("apply", f"--filename={manifests / file}")
    bed.kubectl("wait", "--for=condition=Established", "crd/subnets.kubeovn.io", "--timeout=30s")
    wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")


def _create(bed: Bed, size: Size) -> None:
    def create(number: int) -> None:
        spec = {"ports": [{"port": 80}]}
        bed.api.create(SERVICES, {"metadata": {"name": f"s{number}"}, "spec": spec})
        bed.api.create(SLICES, _slice(number, size))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(size.services)))


def _slice(number: int, size: Size) -> Object:
    name = f"s{number}"
    first = number * size.endpoints
    addresses = [f"10.16.{n // 250}.{n % 250 + 2}" for n in range(first, first + size.endpoints)]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": NUMBER}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


@contextmanager
def _controller(bed: Bed) -> Iterator[Controller]:
    """Run a controller until the end of the block, which ends it as a rollout does."""
    assert bed.control is not None
    listen = f"127.0.0.1:{startup.free_ports()[0]}"
    flags = {
        "identity": "bench",
        "kubeconfig": bed.kubeconfig,
        "ovn-nb": f"unix:{bed.control.path('/run/ovn/ovnnb_db.sock')}",
        "listen": listen,
    }
    words = [sys.executable, "-m", "ovnlet", "controller"]
    with ExitStack() as stack:
        log = stack.enter_context((bed.directory / "controller.log").open("ab"))
        process = subprocess.Popen(
            [*words, *(f"--{key}={value}" for key, value in flags.items())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield Controller(process, listen)
        finally:
            process.terminate()
            process.wait(30)


def _listed(bed: Bed, size: Size) -> float:
    """Return the seconds until every Service has its load balancer."""
    began = time.monotonic()
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "pods"}}
    bed.api.create(
        "/apis/kubeovn.io/v1/subnets",
        {**body, "spec": {"cidrBlock": "10.16.0.0/16", "default": True}},
    )
    count = "ovn-nbctl --bare --columns=_uuid find Load_Balancer external_ids:ovnlet=service"
    words = f"{count} | grep -c ."
    wait_for(
        lambda: int(bed.control_plane.space.sh(f"{words} || :")) > size.services,
        "all load balancers",
        timeout=180,
        every=0.2,
    )
    return time.monotonic() - began


def _bind(bed: Bed) -> None:
    """Bind a pod's port to the chassis, which then installs the flows of all load balancers."""
    bed.api.create("/api/v1/nodes", {"metadata": {"name": "n0"}})
    spec = {"nodeName": "n0", "containers": [{"name": "c", "image": "x"}]}
    pods = "/api/v1/namespaces/default/pods"
    uid = bed.api.create(pods, {"metadata": {"name": "client"}, "spec": spec})["metadata"]["uid"]
    ids = f"external_ids:iface-id=client.default external_ids:iface-id-ver={uid}"
    bed.node().sh(f"ovs-vsctl add-port br-int client -- set Interface client type=internal {ids}")
    wait_for(
        lambda: bed.node().sh("ovs-vsctl get Interface client external_ids:ovn-installed || :"),
        "the client's port",
        timeout=180,
    )


def _changes(bed: Bed, size: Size) -> list[Measure]:
    """Move one endpoint of one Service again and again.

    The first change comes while kopf still works through what it has listed, so it is a row of its
    own.
    """
    first, *rest = (_change(bed, turn, size) for turn in range(CHANGES + 1))
    milliseconds = sorted(1000 * each for each in rest)
    what = f"one endpoint changed until its flow is in force, {size.services} Services"
    return [
        Measure(f"{PREFIX} the first change after a start", round(first, 2), "s", None),
        Measure(f"{PREFIX} {what}, p50", round(median(milliseconds), 1), "ms", 200.0),
        Measure(f"{PREFIX} {what}, longest", round(milliseconds[-1], 1), "ms", None),
    ]


def _change(bed: Bed, turn: int, size: Size) -> float:
    """Move an endpoint; return the seconds until its flow is there and the old one is gone."""
    number = (turn * 37 + 1) % size.services
    body = _slice(number, size)
    old = body["endpoints"][0]["addresses"][0]
    new = MOVED.format(turn + 2)
    body["endpoints"][0]["addresses"] = [new]
    began = time.monotonic()
    bed.api.patch(f"{SLICES}/s{number}", {"endpoints": body["endpoints"]})
    wait_for(partial(_has_moved, bed, old, new), f"{new} for {old}", timeout=90, every=0.005)
    return time.monotonic() - began


def _has_moved(bed: Bed, old: str, new: str) -> bool:
    return _has_flow(bed, new) and not _has_flow(bed, old)


def _has_flow(bed: Bed, address: str) -> bool:
    """Return whether the bridge has a flow of an endpoint, one of those for a pod that asks itself.

    ovn-controller installs all flows and groups of one change at once.
    """
    words = ["ovs-ofctl", "dump-flows", "br-int", f"tcp,nw_src={address},nw_dst={address}"]
    return address in bed.node().run(words)


def _restart(bed: Bed, size: Size, what: str) -> list[Measure]:
    """Start the controller after a change of one slice and the loss of one row meanwhile."""
    before = _versions(bed)
    number, lost = size.services - 1, "ovnlet/default/s0/tcp"
    wrong = {lost, f"ovnlet/default/s{number}/tcp"}
    body = _slice(number, size)
    body["endpoints"][0]["addresses"] = [MOVED.format(250)]
    bed.api.patch(f"{SLICES}/s{number}", {"endpoints": body["endpoints"]})
    bed.nbctl("destroy", "Load_Balancer", lost)
    began = time.monotonic()
    with _controller(bed) as controller:
        wait_for(
            lambda: _answers(controller) and controller.passes > size.services,
            "all passes",
            timeout=180,
            every=0.1,
        )
        # A pass ends with what it hands over to the next transaction.
        wait_for(lambda: wrong <= _changed(bed, before), f"{wrong}", timeout=30, every=0.1)
        seconds = time.monotonic() - began
        changed = _changed(bed, before)
        memory = controller.mib
    return [
        Measure(f"{PREFIX} restart with {what}, until all is right", round(seconds, 2), "s", 15.0),
        Measure(f"{PREFIX} rows written by it that were right", len(changed - wrong), "rows", 0.0),
        Measure(f"{PREFIX} RSS after a restart with {what}", round(memory, 1), "MiB", None),
    ]


def _answers(controller: Controller) -> bool:
    try:
        return controller.passes >= 0
    except OSError:
        return False


def _changed(bed: Bed, before: dict[str, str]) -> set[str]:
    """Return the names of the load balancers that were written since."""
    return {name for name, version in _versions(bed).items() if before.get(name) != version}


def _versions(bed: Bed) -> dict[str, str]:
    """Return the version of each load balancer's row by name: any write changes it."""
    rows = bed.northbound_rows("Load_Balancer", "name", "_version")
    return {row["name"]: row["_version"][1] for row in rows}
