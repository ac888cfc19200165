"""OpenTelemetry traces of ADDs: a span for the call and one for each stage, by OTLP over HTTP.

The encoding is OTLP's JSON (opentelemetry-proto, docs/specification.md, "OTLP/HTTP"): the SDK would
cost each agent more memory than all that is traced here. Without a collector nothing is made: the
clock is the metrics' own.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from secrets import token_hex
from typing import Any

import aiohttp
import structlog

from ovnlet.reconcile.stages import Clock, Stage
from ovnlet_cni.request import Attach

log = structlog.get_logger("tracing")

_PATH = "/v1/traces"
# Seconds between two requests to the collector, and until one is given up.
INTERVAL, TIMEOUT = 2.0, 10.0
# Spans that are kept for a collector that is away; the oldest are dropped.
_KEPT = 2048
_SERVER, _INTERNAL, _ERROR = 2, 1, 2
Span = dict[str, Any]


@dataclass(slots=True)
class _Trace:
    """A call that runs. Its stages run in tasks of their own, which inherit its context."""

    trace_id: str = field(default_factory=lambda: token_hex(16))
    span_id: str = field(default_factory=lambda: token_hex(8))
    running: bool = True


_current: ContextVar[_Trace | None] = ContextVar("trace", default=None)


def untraced(_: Attach) -> AbstractContextManager[None]:
    """Return a context that traces nothing."""
    return nullcontext()


class Tracing:
    """Makes spans while ``collector`` is a URL, and sends them; with None it does nothing.

    ``measure`` is the clock of the metrics, which goes on in any case.
    """

    def __init__(self, collector: str | None, node: str, measure: Clock) -> None:
        self._collector, self._node, self._measure = collector, node, measure
        self._spans: deque[Span] = deque(maxlen=_KEPT)
        self._refused = False

    @property
    def clock(self) -> Clock:
        """The clock for the stages: that of the metrics itself while nothing is traced."""
        return self._stage if self._collector else self._measure

    @property
    def add(self) -> Callable[[Attach], AbstractContextManager[None]]:
        """The context for an ADD."""
        return self._add if self._collector else untraced

    async def run(self) -> None:
        """Send the spans until cancelled. Return at once while nothing is traced."""
        if not self._collector:
            return
        url = self._collector.rstrip("/") + _PATH
        timeout = aiohttp.ClientTimeout(TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http:
            while True:
                await asyncio.sleep(INTERVAL)
                if self._spans:
                    await self._send(http, url)

    async def _send(self, http: aiohttp.ClientSession, url: str) -> None:
        """Send what there is. Spans that the collector does not take are kept for the next time."""
        spans = list(self._spans)
        try:
            async with http.post(url, json=_request(self._node, spans)):
                pass
        except (aiohttp.ClientError, OSError) as error:
            if not self._refused:
                why = f"{type(error).__name__}: {error}"
                log.warning("traces are not taken", collector=url, error=why)
            self._refused = True
            return
        self._refused = False
        # New ones may have come, and pushed out old ones.
        sent = {one["spanId"] for one in spans}
        kept = [one for one in self._spans if one["spanId"] not in sent]
        self._spans.clear()
        self._spans.extend(kept)

    @contextmanager
    def _add(self, request: Attach) -> Iterator[None]:
        trace = _Trace()
        names = {
            "k8s.namespace.name": request.namespace,
            "k8s.pod.name": request.pod,
            "k8s.pod.uid": request.uid or "",
            "container.id": request.container_id,
            "ovnlet.interface": request.ifname,
        }
        token = _current.set(trace)
        try:
            with self._span("ADD", trace, "", trace.span_id, names):
                yield
        finally:
            trace.running = False
            _current.reset(token)

    @contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        trace = _current.get()
        with self._measure(stage):
            if trace is None or not trace.running:
                yield
            else:
                with self._span(stage, trace, trace.span_id, token_hex(8), {}):
                    yield

    @contextmanager
    def _span(
        self, name: str, trace: _Trace, parent: str, own: str, names: dict[str, str]
    ) -> Iterator[None]:
        span: Span = {
            "traceId": trace.trace_id,
            "spanId": own,
            "name": name,
            "kind": _INTERNAL if parent else _SERVER,
            "startTimeUnixNano": str(time.time_ns()),
            "attributes": _attributes(names),
        }
        if parent:
            span["parentSpanId"] = parent
        try:
            yield
        except BaseException as error:
            span["status"] = {"code": _ERROR, "message": f"{type(error).__name__}: {error}"}
            raise
        finally:
            span["endTimeUnixNano"] = str(time.time_ns())
            self._spans.append(span)


def _attributes(names: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in names.items()]


def _request(node: str, spans: list[Span]) -> dict[str, Any]:
    """Return the body of an export request."""
    names = {
        "service.name": "ovnlet",
        "service.version": version("ovnlet"),
        "k8s.node.name": node,
    }
    scope = {"scope": {"name": "ovnlet"}, "spans": spans}
    return {
        "resourceSpans": [{"resource": {"attributes": _attributes(names)}, "scopeSpans": [scope]}]
    }
