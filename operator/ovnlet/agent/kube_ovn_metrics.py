"""The metrics by which dashboards of Kube-OVN know a node's agent, from our own measurements.

The names, labels and buckets are those of kube-ovn-cni 1.12 to 1.17. Ours are beside them.
"""

from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from ovnlet.agent.metrics import Metrics
from ovnlet.reconcile.stages import Stage
from ovnlet_cni import kube_ovn

Served = Callable[[str, int, float], None]
_METHODS = {"ADD": kube_ovn.ADD, "DEL": kube_ovn.DEL}
# Seconds: 1 ms, doubled nine times; ours beyond, where kube-ovn-cni has none.
_BUCKETS = (*(0.001 * 2**power for power in range(10)), 1, 2.5, 5, 10, 30, 60, 120)
# What each stage is called there: the wait for an address, for its routes, for the gateway.
_WAITS: dict[str, Stage] = {
    "cni_wait_address_seconds_total": "annotation",
    "cni_wait_route_seconds_total": "routed",
    "cni_wait_connectivity_seconds_total": "flows",
}


class KubeOvnMetrics(Collector):
    """A registry with kube-ovn-cni's metrics, which ``show`` returns after ours."""

    def __init__(self, ours: Metrics, node: str) -> None:
        self._ours, self._node = ours, node
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "cni_op_latency_seconds",
            "Time of a call of the CNI plugin",
            ["node_name", "method", "status_code"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)

    def counting(self, served: Served) -> Served:
        """Return a function that counts a served call here too. A code of CNI counts as 500."""

        def count(verb: str, code: int, seconds: float) -> None:
            served(verb, code, seconds)
            if (method := _METHODS.get(verb)) is not None:
                good = "200" if verb == "ADD" else "204"
                status = "500" if code else good
                self._latency.labels(self._node, method, status).observe(seconds)

        return count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the seconds that ADDs have waited."""
        for name, stage in _WAITS.items():
            text = "Seconds that ADDs have waited, as kube-ovn-cni counts them"
            family = CounterMetricFamily(name, text, labels=["node_name"])
            seconds = self._ours.stage_seconds(stage)
            if stage == "annotation":  # the wait for routes is a part of it
                seconds -= self._ours.stage_seconds("routed")
            family.add_metric([self._node], max(0.0, seconds))
            yield family

    async def show(self, request: web.Request) -> web.Response:
        """Return our metrics and these in Prometheus's text format."""
        del request
        body = self._ours.text() + generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
