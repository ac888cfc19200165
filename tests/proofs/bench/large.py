"""A node with 500 attachments: a look at all of them, memory, a start, the API server's load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proofs.bench.environment import Environment, cpu, provisioned, start_agent
from proofs.bench.hostile import metrics
from proofs.bench.implementations import AGENT, Implementation, all_implementations
from proofs.bench.measures import Measure
from proofs.bench.pods import NODE
from testbed import progress
from testbed.space import Inside

ATTACHMENTS, AT_ONCE = 500, 50
LOOKS, EVERY = 8, 4
# One minute stands for an hour: the clock of the lists and of the resync runs sixty times as fast.
HOUR, SCALE = 60.0, 60
HURRIED = (
    "import ovnlet.kube.relist as relist\n"
    f"relist.EVERY /= {SCALE}; relist.ABSENT_FIRST /= {SCALE}; relist.ABSENT_LAST /= {SCALE}\n"
    "from ovnlet.__main__ import main\nmain()"
)
PAGE = 20


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Measure all of it on a bed of its own. Return the rows."""
    with provisioned(name, ATTACHMENTS, seed) as env:
        populate(env, all_implementations(plugin, plugin)[AGENT])
        with progress.step("a start of the agent"):
            measures = _start(env)
        with progress.step("full looks"):
            measures += _looks(env)
        with progress.step("an hour at rest"):
            return [*measures, *_hour(env)]


def populate(env: Environment, attaching: Implementation) -> None:
    """Attach the first 500 pods."""
    with progress.step(f"{ATTACHMENTS} attachments") as step:
        for start in range(0, ATTACHMENTS, AT_ONCE):
            step.note(str(start))
            chosen = env.pods[start : start + AT_ONCE]
            env.command(attaching.add([(pod, env.sandbox()) for pod in chosen]))


def _start(env: Environment) -> list[Measure]:
    """Stop the agent and start it, and see what it writes."""
    env.agent.stop(signal.SIGTERM, timeout=20)
    time.sleep(6)  # until the daemons' own writes about the stop and the attachments are done
    before = _written(env)
    with _overheard(env) as heard:
        began = time.monotonic()
        env.agent = start_agent(env.bed)
        env.watched[0] = env.agent.pid
        seconds = time.monotonic() - began
        time.sleep(6)  # the second look of the sweep comes after two
        after = _written(env)
    changes = len(before.items() ^ after.items())
    told = heard.stdout.read().splitlines() if heard.stdout else []
    for line in told[:5]:
        progress.say(f"    written at the start: {line}")
    return [
        Measure(
            f"large: start-up with {ATTACHMENTS} pods until serving", round(seconds, 2), "s", 5.0
        ),
        Measure("large: writes of that start-up", changes + len(told), "writes", 0),
    ]


def _looks(env: Environment) -> list[Measure]:
    """Restart with a short resync; the agent's time at rest between looks counts as theirs."""
    env.agent.stop(signal.SIGTERM, timeout=20)
    env.agent = start_agent(env.bed, flags=[f"--resync={EVERY}"])
    env.watched[0] = env.agent.pid
    time.sleep(2 * EVERY)
    pid, before, looks = env.agent.pid, cpu(env.agent.pid), resyncs(env)[0]
    time.sleep(LOOKS * EVERY)
    seconds = (cpu(pid) - before) / (resyncs(env)[0] - looks)
    return [
        Measure(
            f"large: processor time of a look at {ATTACHMENTS} attachments",
            round(seconds, 3),
            "s",
            0.7,
        ),
        Measure("large: RSS", round(env.agent_mib, 1), "MiB", 80.0),
    ]


def _hour(env: Environment) -> list[Measure]:
    """Count the agent's LISTs at the API server; pages of one LIST count once."""
    env.agent.stop(signal.SIGTERM, timeout=20)
    env.agent = start_agent(env.bed, python=[sys.executable, "-c", HURRIED], flags=["--resync=1"])
    time.sleep(25)  # until the kinds that are absent are asked for as seldom as ever
    before = len(_lists(env))
    time.sleep(HOUR)
    lists = _lists(env)[before:]
    size = _bytes(env)
    shown = ", ".join(sorted({uri.partition("?")[0] for uri in lists}))
    progress.say(f"    listed: {shown}; {len(lists)} requests with all pages")
    return [
        Measure(
            f"large: LISTs an hour at rest, clock of the lists {SCALE} times as fast",
            sum("continue=" not in uri for uri in lists),
            "1/h",
            10.0,
        ),
        Measure(f"large: bytes of a LIST of {ATTACHMENTS} pods", size, "bytes", None),
    ]


def _lists(env: Environment) -> list[str]:
    """Return the URIs of all LISTs that the agent has asked for, page by page."""
    events = map(json.loads, env.bed.audit_log.read_text().splitlines())
    return [
        each["requestURI"]
        for each in events
        if each["verb"] == "list" and each.get("userAgent") == "ovnlet"
    ]


def _bytes(env: Environment) -> int:
    """Return the size of all pages of a LIST as the agent asks for it."""
    api, size, more = env.bed.api, 0, ""
    while True:
        query = f"fieldSelector=spec.nodeName%3D{NODE}&limit={PAGE}" + more
        page = api.get(f"/api/v1/pods?{query}")
        size += len(json.dumps(page, separators=(",", ":")))
        if not (token := page["metadata"].get("continue")):
            return size
        more = f"&continue={token}"


def resyncs(env: Environment) -> tuple[float, float]:
    """Return how many resyncs of the agent have ended and their seconds, by its metrics."""
    text = metrics(env)
    count, seconds = (
        float(text.partition(f"\novnlet_resync_seconds_{name} ")[2].partition("\n")[0])
        for name in ("count", "sum")
    )
    return count, seconds


def _written(env: Environment) -> dict[str, tuple[int, int]]:
    """Return inode and time of each file of the agent's, and the size of OVSDB's."""
    root = env.bed.node().path("/run/ovnlet")
    files = [path for path in root.rglob("*") if path.is_file()]
    found = {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    database = env.bed.node().path("/etc/openvswitch/conf.db")
    return found | {"OVSDB": (0, database.stat().st_size)}


@contextmanager
def _overheard(env: Environment) -> Iterator[Inside]:
    """Run `ip monitor` over all namespaces meanwhile; what it prints is what somebody changed."""
    words = ["ip", "monitor", "link", "address", "route", "all-nsid"]
    monitor = env.bed.node().popen(words, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        yield monitor
        assert monitor.poll() is None, "ip monitor ended"
    finally:
        monitor.terminate()
        monitor.wait(10)
