"""One observation of one pod: every fact of its network as text.

A pod is right again when its facts equal those before the fault.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofs.drift import openflow, rtnl, tc
from proofs.drift.rows import Rows

Facts = dict[str, str]
RECORDS = Path("/run/ovnlet/sandboxes")
PENDING_DELETES = Path("/run/ovnlet/deleted")
SETTINGS = ("disable_ipv6", "accept_ra")
# Addresses in the pod's own subnet, beyond the gateway, and behind the custom routes.
ROUTE_PROBES = (
    "10.16.200.1",
    "198.51.100.1",
    "192.0.2.1",
    "fd00:10:16::dead",
    "2001:db8:1::1",
    "2001:db8:77::1",
)
HOLD = 0.15  # seconds that a pod must stay right: a repair that OVN undoes does not count


@dataclass(frozen=True, slots=True)
class Target:
    """What a foreign tool needs to know of a pod."""

    pod: str
    container_id: str
    netns: str
    port: str
    iface_id: str
    ips: tuple[str, ...]
    mac: str
    ifname: str = "eth0"
    ingress: int = 0  # Mbit/s; 0 is no limit
    egress: int = 0

    @property
    def limited(self) -> bool:
        """Whether the pod has limits."""
        return bool(self.ingress and self.egress)

    @property
    def record(self) -> Path:
        """The path of the sandbox's record."""
        return RECORDS / f"{self.container_id}.{self.ifname}.json"


@contextmanager
def in_netns(netns: str) -> Iterator[None]:
    """Move the calling thread to another network namespace for the block; keep nothing of it open.

    Raise OSError if the namespace does not exist.
    """
    own_fd, target_fd = os.open("/proc/self/ns/net", os.O_RDONLY), -1
    try:
        target_fd = os.open(netns, os.O_RDONLY)
        os.setns(target_fd, os.CLONE_NEWNET)
        yield
    finally:
        os.setns(own_fd, os.CLONE_NEWNET)
        os.close(own_fd)
        if target_fd >= 0:
            os.close(target_fd)


def observe(target: Target, rows: Rows) -> Facts:
    """Return every fact that is compared. That the namespace is gone is a fact too."""
    facts = dict(rows.facts(target.port, target.iface_id))
    facts["record"] = _record(target.record)
    if flags := openflow.port_flags(target.port):
        facts["port flags"] = flags
    with rtnl.Kernel() as kernel:
        link = kernel.link(target.port)
        if link is not None:
            facts["host link"] = rtnl.link_facts(link)[1].partition(" mac")[0]
            facts["host link's peer"] = "elsewhere" if rtnl.has_peer_elsewhere(link) else "here"
            facts |= _queues(kernel, link, "host") if target.limited else {}
    try:
        with in_netns(target.netns):
            facts |= dict(_pod(target))
    except OSError as error:
        facts["namespace"] = str(error.strerror)
    return facts


def _pod(target: Target) -> Iterator[tuple[str, str]]:
    with rtnl.Kernel() as kernel:
        yield from rtnl.pod_facts(kernel)
        for address in ROUTE_PROBES:
            yield f"lookup {address}", rtnl.resolve_route(kernel, address)
        if target.limited and (link := kernel.link(target.ifname)):
            yield from _queues(kernel, link, "pod").items()
    for name in SETTINGS:
        with suppress(OSError):
            yield (
                f"sysctl {name}",
                Path(f"/proc/sys/net/ipv6/conf/{target.ifname}/{name}").read_text().strip(),
            )
    yield "tx-checksum", rtnl.tx_checksum(target.ifname)


def _queues(kernel: rtnl.Kernel, link: bytes, origins: str) -> Facts:
    return {f"{origins} {name}": text for name, text in tc.facts(kernel, rtnl.index(link))}


def _record(path: Path) -> str:
    """Return the record's text without its place in the order of ADDs.

    A rebuilt record may have another place.
    """
    try:
        body = json.loads(path.read_text())
        body["attachment"].pop("sequence")
        return json.dumps([body["attachment"], body["good"]], sort_keys=True)
    except FileNotFoundError:
        return "missing"
    except (ValueError, LookupError, TypeError):
        return "torn"


def differences(baseline: Facts, facts: Facts, *, allow_extra: bool) -> list[str]:
    """Return what is not as in the baseline.

    With ``allow_extra``, facts that it does not have are no difference.
    """
    wrong = [
        f"{key}: {value} -> {facts.get(key, 'missing')}"
        for key, value in baseline.items()
        if facts.get(key) != value
    ]
    if not allow_extra:
        wrong += [f"{key}: new {value}" for key, value in facts.items() if key not in baseline]
    return wrong


@dataclass(slots=True)
class Trial:
    """A broken pod under observation."""

    target: Target
    allow_extra: bool
    since: float
    first: Facts = field(default_factory=dict)
    detected_at: float | None = None
    right_since: float | None = None
    wrong: list[str] = field(default_factory=list)
    hold: float = HOLD

    def update(self, facts: Facts, baseline: Facts) -> None:
        """Compare new facts with the baseline.

        Note when the pod first changed and when it became right.
        """
        now = time.monotonic()
        self.first = self.first or facts
        if self.detected_at is None and facts != self.first:
            self.detected_at = now
        self.wrong = differences(baseline, facts, allow_extra=self.allow_extra)
        if self.wrong:
            self.right_since = None
        elif self.right_since is None:
            self.right_since = now

    @property
    def repaired(self) -> bool:
        """Whether the pod has been right for at least `hold` seconds."""
        return self.right_since is not None and time.monotonic() - self.right_since >= self.hold

    def result(self) -> dict[str, Any]:
        """Return the times in ms since the fault. Without a detection, the repair counts as one."""
        repaired = milliseconds(self.right_since, self.since)
        detected_at = milliseconds(self.detected_at, self.since)
        return {
            "repaired_ms": repaired,
            "detected_ms": repaired if detected_at is None else detected_at,
            "wrong": self.wrong,
        }


def milliseconds(moment: float | None, since: float) -> float | None:
    """Return the time from ``since`` to ``moment`` in ms; None without a moment."""
    return None if moment is None else round((moment - since) * 1000, 2)
