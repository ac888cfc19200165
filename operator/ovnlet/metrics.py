"""Figures for Prometheus: what was repaired, how long passes and CNI requests take, what state attachments are in."""

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ovnlet.reconcile.reconciler import Outcome

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """``attachments`` gives the state of each, when asked: a gauge that cannot be forgotten to be set.

    ``unenforced`` counts the limits that this node cannot enforce.
    """

    def __init__(self, attachments: Callable[[], Iterable[str]], unenforced: Callable[[], int] = lambda: 0) -> None:
        self.registry = CollectorRegistry()
        self._attachments = attachments
        at, by = self.registry, ["outcome"]
        self._passes = Counter("ovnlet_passes_total", "Passes that changed a network", by, registry=at)
        told = "Time of a pass that changed a network"
        self._seconds = Histogram("ovnlet_pass_seconds", told, by, buckets=BUCKETS, registry=at)
        self._steps = Counter("ovnlet_repaired_total", "Things of pods that were repaired", ["kind"], registry=at)
        self._left = Counter("ovnlet_drift_left_total", "Things found wrong and not repaired", ["kind"], registry=at)
        self._states = Gauge("ovnlet_attachments", "Attachments of this node", ["state"], registry=at)

        lacking = Gauge("ovnlet_limits_not_enforced", "Limits this node's kernel cannot enforce", registry=at)
        lacking.set_function(unenforced)

    def count(self, outcome: Outcome) -> None:
        if outcome.steps:
            self._passes.labels(outcome.what).inc()
            self._seconds.labels(outcome.what).observe(outcome.seconds)
        for step in outcome.steps if outcome.what == "repaired" else ():
            self._steps.labels(type(step.resource).__name__).inc()
        for step in outcome.left:
            self._left.labels(type(step.resource).__name__).inc()

    async def show(self, _: web.Request) -> web.Response:
        self._states.clear()
        for state in self._attachments():
            self._states.labels(state).inc()
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
