"""The agent's Prometheus metrics: repairs, durations of passes and CNI requests, states.

No label is a pod's name: the number of series is bounded by the code.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import get_args

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ovnlet import program_metrics
from ovnlet.agent.subnet_metrics import SubnetCount, SubnetCounts
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.stages import Stage

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
VERBS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"})


class Metrics:
    """One registry with every metric of an agent.

    The callables are read at each scrape. ``attachments`` returns the state of each
    attachment, ``unenforced`` the number of limits that this node cannot enforce, ``queued`` the
    number of keys being worked on, ``ready`` whether pods can be attached, and ``subnets`` what
    was forwarded for each Subnet.
    """

    def __init__(
        self,
        attachments: Callable[[], Iterable[str]],
        unenforced: Callable[[], int] = lambda: 0,
        queued: Callable[[], int] = lambda: 0,
        ready: Callable[[], bool] = lambda: True,
        subnets: Callable[[], Iterable[SubnetCount]] = lambda: (),
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(SubnetCounts(subnets))
        self.requested = program_metrics.register(self.registry)
        self._attachments = attachments
        at, by = self.registry, ["outcome"]
        self._passes = Counter(
            "ovnlet_passes_total", "Passes that changed a network", by, registry=at
        )
        text = "Time of a pass that changed a network"
        self._seconds = Histogram("ovnlet_pass_seconds", text, by, buckets=BUCKETS, registry=at)
        self._steps = Counter(
            "ovnlet_repaired_total",
            "Things that were repaired; class is event if a notification asked for the look, "
            "else resync",
            ["kind", "class"],
            registry=at,
        )
        self._left = Counter(
            "ovnlet_drift_left_total", "Things found wrong and not repaired", ["kind"], registry=at
        )
        self._states = Gauge(
            "ovnlet_attachments", "Attachments of this node", ["state"], registry=at
        )

        lacking = Gauge(
            "ovnlet_limits_not_enforced", "Limits this node's kernel cannot enforce", registry=at
        )
        lacking.set_function(unenforced)
        Gauge("ovnlet_queue_depth", "Attachments being worked on", registry=at).set_function(queued)
        text = "1 if pods can be attached, by the last look at OVS and OVN"
        Gauge("ovnlet_ready", text, registry=at).set_function(lambda: float(ready()))
        text = "Time of a call of the CNI plugin; code 0 is success"
        self._requests = Histogram(
            "ovnlet_cni_seconds", text, ["verb", "code"], buckets=BUCKETS, registry=at
        )
        self._throttled = Counter(
            "ovnlet_throttled_total",
            "Passes that waited for the budget of their key",
            ["scope", "reason"],
            registry=at,
        )
        self._part_failures = Counter(
            "ovnlet_part_failures_total",
            "Failures of a part of the agent, after each of which it restarts alone",
            ["part"],
            registry=at,
        )
        text = (
            "Time of attaching by stage: annotation is waited for, "
            "kernel and ovsdb are written, flows are OVN's"
        )
        self._stages = Histogram(
            "ovnlet_stage_seconds", text, ["stage"], buckets=BUCKETS, registry=at
        )
        text = "From an edited annotation's arrival to the network that has it"
        self._edits = Histogram("ovnlet_edit_seconds", text, buckets=BUCKETS, registry=at)
        text = "From a port's row in OVSDB to OVN's ovn-installed-ts"
        self._installed = Histogram(
            "ovnlet_ovn_installed_seconds", text, buckets=BUCKETS, registry=at
        )
        text = "Time of a resync, a look at everything"
        self._resyncs = Histogram("ovnlet_resync_seconds", text, buckets=BUCKETS, registry=at)
        self._by_stage = {stage: self._stages.labels(stage) for stage in get_args(Stage)}

    def served(self, verb: str, code: int, seconds: float) -> None:
        """Count an answered call. Unknown verbs share one label: a caller cannot add series."""
        self._requests.labels(verb if verb in VERBS else "other", str(code)).observe(seconds)

    def installed(self, seconds: float) -> None:
        """Count a port that OVN installed ``seconds`` after its row was written."""
        self._installed.observe(seconds)

    @contextmanager
    def resync(self) -> Iterator[None]:
        """Measure a resync."""
        with self._resyncs.time():
            yield

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        """Measure a stage, also one that fails."""
        return self._by_stage[stage].time()

    def outcome(self, outcome: Outcome, /) -> None:
        """Count a pass that changed something, and what it repaired or left."""
        action = outcome.action
        if outcome.steps:
            self._passes.labels(action).inc()
            self._seconds.labels(action).observe(outcome.seconds)
        for step in outcome.steps if action == "repaired" else ():
            found = "event" if outcome.hinted else "resync"
            self._steps.labels(type(step.resource).__name__, found).inc()
        for step in outcome.remaining:
            self._left.labels(type(step.resource).__name__).inc()

    def throttled(self, scope: str, reason: Reason, /) -> None:
        """Count a hint that waits."""
        self._throttled.labels(scope, reason).inc()

    def edited(self, seconds: float, /) -> None:
        """Count an edit that is in force ``seconds`` after it arrived."""
        self._edits.observe(seconds)

    def part_failed(self, part: str) -> None:
        """Count a failure of a part of the agent, which restarts."""
        self._part_failures.labels(part).inc()

    async def show(self, _: web.Request) -> web.Response:
        """Return all metrics in Prometheus's text format."""
        return web.Response(body=self.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def text(self) -> bytes:
        """Return all metrics as text."""
        self._states.clear()
        for state in self._attachments():
            self._states.labels(state).inc()
        return generate_latest(self.registry)

    def stage_seconds(self, stage: Stage) -> float:
        """Return how long all attachments together were in a stage."""
        # Not by the registry, which would have every collector read the kernel again.
        samples = [each for family in self._stages.collect() for each in family.samples]
        wanted = ("ovnlet_stage_seconds_sum", {"stage": stage})
        return sum(each.value for each in samples if (each.name, each.labels) == wanted)
