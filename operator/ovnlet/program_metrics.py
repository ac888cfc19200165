"""Metrics of agent and controller about themselves: build, process, requests to the API server."""

import platform
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector


def register(registry: CollectorRegistry) -> Callable[[str, int], None]:
    """Register them, and return what counts a request by method and status, 0 without an answer.

    It may be called from any thread.
    """
    build = Gauge(
        "ovnlet_build_info",
        "Always 1; the labels are the versions of ovnlet and of Python",
        ["version", "python"],
        registry=registry,
    )
    build.labels(version("ovnlet"), platform.python_version()).set(1)
    ProcessCollector(registry=registry)
    requests = Counter(
        "ovnlet_api_requests_total",
        "Requests to the API server; status 0 is no answer",
        ["method", "status"],
        registry=registry,
    )

    def count(method: str, status: int) -> None:
        requests.labels(method, str(status)).inc()

    return count
