"""Ports of pods: how long a thousand of them take, what waiting ones cost, and a restart with many.

What the controller writes is read from the northbound database's own log. A record that only sets
columns which ovn-northd writes is not counted, nor one of the whole database's row, which has the
leader's term.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from proofs.bench.measures import Measure
from proofs.controller.shares import Shares, cpu, waited
from testbed import deploy, layout, progress, startup
from testbed.bed import Bed
from testbed.service import wait_for

PREFIX = "ports:"
PARTS = {layout.ETCD, layout.APISERVER, layout.CENTRAL}
PODS = "/api/v1/namespaces/default/pods"
SUBNETS, POOLS = "/apis/kubeovn.io/v1/subnets", "/apis/kubeovn.io/v1/ippools"
OVN = "ovn.kubernetes.io"
# The columns of a port that ovn-northd sets.
_NORTHD = {"dynamic_addresses", "up"}
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How many pods are created at once, and how many there are at the restart."""

    burst: int
    many: int


@dataclass(frozen=True, slots=True)
class Admin:
    """An administrator's client."""

    http: aiohttp.ClientSession

    async def do(self, method: str, path: str, **options: Any) -> Object:
        """Return the answer to a request. Raise AssertionError if it is refused."""
        async with self.http.request(method, path, **options) as answer:
            body: Object = await answer.json()
            assert answer.ok, body
            return body

    async def pod(self, name: str, **asked: str) -> None:
        """Create a pod."""
        annotations = {f"{OVN}/{key}": value for key, value in asked.items()}
        spec = {"nodeName": "n0", "containers": [{"name": "c", "image": "x"}]}
        meta = {"name": name, "annotations": annotations}
        await self.do("POST", PODS, json={"metadata": meta, "spec": spec})

    async def create(self, path: str, kind: str, name: str, **spec: Any) -> None:
        """Create a custom resource."""
        body = {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}}
        await self.do("POST", path, json={**body, "spec": spec})


def run(name: str, size: Size) -> list[Measure]:
    """Measure on a bed of its own: API server and OVN's databases. Return the rows."""
    with Bed.up(name, nodes=1, parts=PARTS) as bed:
        manifests = deploy.PROJECT / "manifests"
        for file in ("base/namespace.yaml", "standalone/subnet.yaml", "standalone/ippool.yaml"):
            bed.kubectl("apply", f"--filename={manifests / file}")
        for kind in ("subnets", "ippools"):
            asked = (f"crd/{kind}.kubeovn.io", "--timeout=30s")
            bed.kubectl("wait", "--for=condition=Established", *asked)
        wait_for(lambda: "default" in bed.kubectl("get", "namespaces"), "namespace default")
        return asyncio.run(_measure(bed, size))


async def _measure(bed: Bed, size: Size) -> list[Measure]:
    async with _admin(bed) as admin:
        with _controller(bed) as (process, _):
            await admin.create(
                SUBNETS, "Subnet", "pods", cidrBlock="10.16.0.0/16,fd00:16::/64", default=True
            )
            await _until(lambda: _has_switch(bed), "the switch")
            with progress.step(f"{size.burst} pods at once"):
                rows = await _burst(bed, admin, size, process.pid)
            with progress.step("five pods that wait for an IPPool"):
                rows += await _pool(bed, admin)
            with progress.step(f"{size.many} pods"):
                have = size.burst + 7
                await _create(admin, [f"m{number}" for number in range(size.many - have)])
                await _allocated(bed, size.many - 5, 180)
                await asyncio.sleep(2)
        with progress.step(f"a restart with {size.many} ports"):
            return [*rows, *await _restart(bed, size)]


async def _burst(bed: Bed, admin: Admin, size: Size, pid: int) -> list[Measure]:
    before, spent, shares = _written(bed), cpu(pid), Shares(bed)
    held_up = waited(pid)
    names = [f"p{number}" for number in range(size.burst)]
    began = time.monotonic()
    watch = asyncio.create_task(_annotated(admin, len(names)))
    await _create(admin, names)
    made = time.monotonic() - began
    last = await asyncio.wait_for(watch, 120) - began
    what = f"{size.burst} pods at once"
    ours, others = cpu(pid) - spent, shares.measures(f"{PREFIX} {what}")
    held_up = waited(pid) - held_up
    rows = _addresses(bed)
    duplicates = len(rows) - len(set(rows))
    return [
        Measure(f"{PREFIX} {what}, all annotated after the first POST", round(last, 2), "s", 5.0),
        Measure(f"{PREFIX} {what}, all created after", round(made, 2), "s", None),
        Measure(f"{PREFIX} {what}, the controller's CPU", round(ours, 2), "s", None),
        Measure(f"{PREFIX} {what}, the controller without a core", round(held_up, 2), "s", None),
        *others,
        Measure(f"{PREFIX} {what}, per second", round(size.burst / last), "pods/s", None),
        Measure(f"{PREFIX} {what}, transactions", _written(bed) - before, "", None),
        Measure(f"{PREFIX} {what}, addresses and MACs that two have", duplicates, "", 0.0),
    ]


async def _pool(bed: Bed, admin: Admin) -> list[Measure]:
    """Create seven pods for a pool of two, and count what is written until nothing more is."""
    await admin.create(POOLS, "IPPool", "few", subnet="pods", ips=["10.16.200.1..10.16.200.2"])
    await asyncio.sleep(2)  # the switch excludes them from what OVN chooses
    before = _written(bed)
    for number in range(7):
        await admin.pod(f"w{number}", ip_pool="few")
    await asyncio.sleep(20)
    written = _written(bed) - before
    held = sum(word.startswith("10.16.200.") for word in _addresses(bed))
    assert held == 2, f"{held} pods have an address of the pool"
    what = "IPPool of 2 addresses with 5 waiting pods, transactions in 20 s"
    return [Measure(f"{PREFIX} {what}", written, "", 20.0)]


async def _restart(bed: Bed, size: Size) -> list[Measure]:
    await asyncio.sleep(3)
    before = _written(bed)
    what = f"{PREFIX} restart with {size.many} ports"
    began, shares = time.monotonic(), Shares(bed)
    with _controller(bed) as (process, listen):
        await _until(lambda: _leads(listen), "a leader", 60)
        seconds, spent, held_up = time.monotonic() - began, cpu(process.pid), waited(process.pid)
        others = shares.measures(what)
        await asyncio.sleep(15)  # all passes, and the first resync
        written = _written(bed) - before
        text = Path(f"/proc/{process.pid}/status").read_text()
    mib = int(text.partition("VmRSS:")[2].split()[0]) / 1024
    return [
        Measure(f"{what}, until it leads", round(seconds, 2), "s", 10.0),
        Measure(f"{what}, the controller's CPU until then", round(spent, 2), "s", None),
        Measure(f"{what}, the controller without a core", round(held_up, 2), "s", None),
        *others,
        Measure(f"{what}, transactions", written, "", 0.0),
        Measure(f"{what}, RSS", round(mib, 1), "MiB", None),
    ]


async def _create(admin: Admin, names: list[str]) -> None:
    await asyncio.gather(*map(admin.pod, names))


async def _annotated(admin: Admin, count: int) -> float:
    """Return when a watch, which begins before any pod is created, has seen all annotated."""
    seen: set[str] = set()
    timeout = aiohttp.ClientTimeout(total=None)
    query = {"watch": "true"}
    async with admin.http.get(PODS, params=query, timeout=timeout) as answer:
        async for line in answer.content:
            meta = json.loads(line)["object"]["metadata"]
            if (meta.get("annotations") or {}).get(f"{OVN}/routed") == "true":
                seen.add(meta["name"])
            if len(seen) == count:
                break
    return time.monotonic()


async def _allocated(bed: Bed, count: int, seconds: float) -> None:
    # Seldom: each look reads every port.
    await _until(lambda: _pinned(bed) >= count, f"{count} ports", seconds, every=1)


async def _until(
    look: Callable[[], bool], what: str, seconds: float = 30, every: float = 0.1
) -> None:
    await asyncio.to_thread(wait_for, look, what, timeout=seconds, every=every)


@asynccontextmanager
async def _admin(bed: Bed) -> AsyncIterator[Admin]:
    context = ssl.create_default_context(cafile=str(bed.ids.ca))
    connector = aiohttp.TCPConnector(ssl=context, limit=16)
    headers = {"Authorization": f"Bearer {bed.token}"}
    async with aiohttp.ClientSession(bed.api_url, connector=connector, headers=headers) as http:
        yield Admin(http)


@contextmanager
def _controller(bed: Bed) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a controller until the end of the block, and yield it and its address.

    It is stopped in good order, so that it frees its Lease.
    """
    assert bed.control is not None
    listen = f"127.0.0.1:{startup.free_ports()[0]}"
    flags = {
        "identity": "bench",
        "kubeconfig": bed.kubeconfig,
        "ovn-nb": f"unix:{bed.control.path('/run/ovn/ovnnb_db.sock')}",
        "listen": listen,
        "lease-seconds": 15,
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
            yield process, listen
        finally:
            process.terminate()
            process.wait(30)


def _leads(listen: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{listen}/readyz", timeout=2) as answer:
            return bool(answer.read() == b"leading")
    except OSError:
        return False


def _has_switch(bed: Bed) -> bool:
    return "(pods)" in bed.nbctl("ls-list")


def _addresses(bed: Bed) -> list[str]:
    """Return every MAC and address of the pods' ports, as the database has them."""
    rows = bed.northbound_rows("Logical_Switch_Port", "type", "addresses")
    return [w for row in rows if not row["type"] for w in str(row["addresses"]).split()]


def _pinned(bed: Bed) -> int:
    return sum("." in word for word in _addresses(bed))


def _written(bed: Bed) -> int:
    """Return how many transactions of others than ovn-northd the database's log has."""
    assert bed.control is not None
    path = bed.control.path("/var/lib/ovn/ovnnb_db.db")
    lines = Path(path).read_text().splitlines()
    return sum(_is_ours(json.loads(line)) for line in lines if line.startswith("{"))


def _is_ours(record: Object) -> bool:
    """Return whether a record of the log is of another program than ovn-northd."""
    tables = {name: rows for name, rows in record.items() if isinstance(rows, dict)}
    if "_date" not in record or "tables" in tables:
        return False  # the schema
    rows = [r for name, each in tables.items() if name != "NB_Global" for r in each.values()]
    return any(row is None or not row.keys() <= _NORTHD for row in rows)
