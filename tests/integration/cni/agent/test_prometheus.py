"""A real Prometheus scrapes an agent: each shipped alert fires on its cause, and resolves.

The rules are the shipped ones, with seconds in place of their minutes.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from integration.cni.agent.node import AgentNode, until
from testbed.service import Service

pytestmark = pytest.mark.long

RULES = Path(__file__).parents[4] / "manifests/alerts/ovnlet.rules.yaml"
AGENT, SERVER = "127.0.0.1:9441", "127.0.0.1:9090"
WINDOW, ALERT_TIMEOUT = 20, 90.0
OURS = "ovn.kubernetes.io"
CONFIG = {
    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
    "rule_files": ["rules.yaml"],
    "scrape_configs": [{"job_name": "ovnlet", "static_configs": [{"targets": [AGENT]}]}],
}


def shortened(rules: str) -> str:
    """Return the rules with ranges of WINDOW seconds and waits of 2 s, otherwise unchanged."""
    return re.sub(r"\bfor: \d+m", "for: 2s", re.sub(r"\[\d+m\]", f"[{WINDOW}s]", rules))


class Prometheus:
    """The Prometheus in the node's space, queried by a tool in that space."""

    def __init__(self, node: AgentNode) -> None:
        self._node = node

    async def ask(self, path: str) -> Any:
        words = ("busybox", "wget", "-q", "-T", "5", "-O", "-", f"http://{SERVER}/api/v1/{path}")
        return json.loads(await self._node.run(*words))["data"]

    async def firing(self) -> set[str]:
        alerts = (await self.ask("alerts"))["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def fires(self, name: str, again: Callable[[], Awaitable[object]] | None = None) -> None:
        """Wait for the alert. ``again`` repeats its cause, which a rate needs."""

        async def is_firing() -> bool:
            if again is not None:
                await again()
            return name in await self.firing()

        seconds = await until(is_firing, f"{name} to fire", ALERT_TIMEOUT)
        print(f"{name} fires {seconds:.0f} s after its cause")

    async def resolves(self, *names: str) -> None:
        async def is_resolved() -> bool:
            return not set(names) & await self.firing()

        seconds = await until(is_resolved, f"{names} to resolve", ALERT_TIMEOUT)
        print(f"{', '.join(names)} resolved {seconds:.0f} s later")


def _serve(node: AgentNode, home: Path) -> Service:
    words = [
        "prometheus",
        *(f"--config.file={home}/prometheus.yaml", f"--storage.tsdb.path={home}/data"),
        *(f"--web.listen-address={SERVER}", "--log.level=warn"),
    ]
    return node.space.spawn("prometheus", words)


@pytest_asyncio.fixture
async def prometheus(bare: AgentNode, tmp_path: Path) -> AsyncIterator[Prometheus]:
    (tmp_path / "rules.yaml").write_text(shortened(RULES.read_text()))
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(CONFIG))
    bare.start(f"--http={AGENT}")
    service, one = _serve(bare, tmp_path), Prometheus(bare)

    async def scraped() -> bool:
        try:
            targets = (await one.ask("targets"))["activeTargets"]
        except AssertionError:  # it does not listen yet
            assert service.alive, service.tail()
            return False
        return [target["health"] for target in targets] == ["up"]

    await until(scraped, "the first scrape", 60)
    yield one
    await asyncio.to_thread(service.stop)


async def test_each_alert_fires_on_its_cause_and_resolves(
    bare: AgentNode, prometheus: Prometheus
) -> None:
    node = bare
    rules = [
        rule["name"]
        for group in (await prometheus.ask("rules"))["groups"]
        for rule in group["rules"]
    ]
    shipped = yaml.safe_load(RULES.read_text())["groups"]
    assert rules == [rule["alert"] for group in shipped for rule in group["rules"]]
    steady, limited = await node.make_sandboxes(node.make_pods(["", ""]))
    await asyncio.gather(node.add(steady), node.add(limited))
    await asyncio.sleep(3)  # a rate needs several scrapes
    assert await prometheus.firing() == set()

    await _slow(node, prometheus)
    await prometheus.fires(
        "OvnletAddsFail", lambda: node.call("ADD", steady, None, CNI_IFNAME="lo")
    )
    node.annotate(steady.pod, {"ovnlet.io/repair": "report"})
    await prometheus.fires("OvnletDriftLeft", lambda: _flushed(node))
    node.annotate(steady.pod, {"ovnlet.io/repair": None})
    with node.stopped("ovs-vswitchd"):
        await prometheus.fires("OvnletNotReady")
    node.kill()
    await prometheus.fires("OvnletDown")
    await asyncio.to_thread(node.start, f"--http={AGENT}")
    await prometheus.resolves(*rules)

    lacking = await node.run(
        "sh", "-c", "tc qdisc add dev lo root netem 2>&1 && tc qdisc del dev lo root || :"
    )
    if lacking:  # a kernel with sch_netem enforces it
        node.annotate(limited.pod, {f"{OURS}/latency": "5"})
        await prometheus.fires("OvnletLimitsNotEnforced")
        node.annotate(limited.pod, {f"{OURS}/latency": None})
        await prometheus.resolves("OvnletLimitsNotEnforced")


async def _flushed(node: AgentNode) -> None:
    """Cause drift again, so that the count of reported drift grows."""
    await node.inside(node.sandboxes[0], "ip", "route", "flush", "dev", "eth0")
    await node.inside(node.sandboxes[0], "ip", "link", "set", "eth0", "down")
    await node.inside(node.sandboxes[0], "ip", "link", "set", "eth0", "up")


async def _slow(node: AgentNode, prometheus: Prometheus) -> None:
    """Let an ADD wait 12 s for its pod's addresses, until the alert fires and resolves."""
    late = await node.sandbox(node.pod("late", annotated=False))
    adding = asyncio.create_task(node.add(late))
    await asyncio.sleep(12)
    node.annotate(late.pod, late.pod.annotations)
    await adding
    await prometheus.fires("OvnletAddsSlow")
    await prometheus.resolves("OvnletAddsSlow")
