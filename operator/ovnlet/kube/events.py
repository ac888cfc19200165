"""Outcomes told to people: Kubernetes Events on pods and others, seldom enough that nobody has to filter them."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Coroutine, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar

import aiohttp
import structlog
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from ovnlet.kube.session import Access, ApiFault, call

COMPONENT = "ovnlet"
AGAIN = 3600.0  # seconds in which the same is told by raising its count
BURST, REFILL = (
    10,
    60.0,
)  # Events of one pod and reason at once, and seconds until one more is allowed
QUEUE, MEMORY = 256, 1024
MESSAGE = 1024
LONGEST_WAIT = 5.0
log = structlog.get_logger("events")

Kind = Literal["Normal", "Warning"]
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Subject(Protocol):
    """What an Event is about; of an object without a namespace, the Event is in `default`."""

    @property
    def kind(self) -> str: ...
    @property
    def api_version(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def object_uid(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two Events the same."""

    pod: str
    reason: str
    message: str


@dataclass(slots=True)
class SentEvent:
    """One Event. ``there``: the API server has it; ``since`` is the loop's time of the first."""

    owner: Subject
    kind: Kind
    name: str
    since: float
    first: datetime
    last: datetime
    count: int = 0
    there: bool = False


@dataclass(slots=True)
class Allowance:
    """A token bucket."""

    since: float
    left: float = field(default=BURST)

    def take(self, now: float) -> bool:
        self.left = min(BURST, self.left + (now - self.since) / REFILL)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Recorder:
    """``record`` returns at once and never fails; ``run`` sends. While the API is away the oldest are dropped."""

    def __init__(self, access: Access, node: str) -> None:
        self._access, self._node = access, node
        self._queue: OrderedDict[Key, SentEvent] = OrderedDict()
        self._told: OrderedDict[Key, SentEvent] = OrderedDict()
        self._allowances: OrderedDict[tuple[str, str], Allowance] = OrderedDict()
        self._filled = asyncio.Event()

    def record(self, pod: Subject, kind: Kind, reason: str, message: str) -> None:
        """Tell of ``pod`` what happened. The same within an hour is counted, not repeated."""
        key = Key(pod.object_uid, reason, message[:MESSAGE])
        now = asyncio.get_running_loop().time()
        told = self._told.get(key)
        if told is None or now - told.since > AGAIN:
            name = f"{pod.name[:236].rstrip('-.')}.{secrets.token_hex(8)}"
            told = SentEvent(pod, kind, name, now, datetime.now(UTC), datetime.now(UTC))
            _remember(self._told, key, told, MEMORY)
        told.count += 1
        told.last = datetime.now(UTC)
        # By reason: that repairs are held back must not be lost among the repairs.
        whose = (pod.object_uid, reason)
        allowance = self._allowances.get(whose) or Allowance(now)
        _remember(self._allowances, whose, allowance, MEMORY)
        if key in self._queue or allowance.take(now):
            _remember(self._queue, key, told, QUEUE)
            self._filled.set()

    async def run(self) -> None:
        """Send what was recorded. Ends only when cancelled; between bursts it holds no connection."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, min=0.1, max=LONGEST_WAIT),
                retry=retry_if_exception(_passes),
            ):
                with attempt:
                    await self._flush()

    async def _flush(self) -> None:
        if not self._queue:
            return
        async with self._access.session() as http:
            while self._queue:
                key = next(iter(self._queue))
                try:
                    await self._send(http, key, self._queue[key])
                except ApiFault as fault:
                    if _passes(fault):
                        raise
                    log.warning(
                        "an Event was refused", pod=key.pod, reason=key.reason, error=str(fault)
                    )
                    self._queue.pop(key, None)

    async def _send(self, http: aiohttp.ClientSession, key: Key, told: SentEvent) -> None:
        """PATCH what the API server has, create what it has not or has forgotten."""
        sent = told.count
        url = f"{self._access.server}/api/v1/namespaces/{told.owner.namespace or 'default'}/events"
        if told.there:
            change = {"count": sent, "lastTimestamp": _time(told.last)}
            headers = {"Content-Type": "application/merge-patch+json"}
            told.there = await _unless(
                404, call(http, "PATCH", f"{url}/{told.name}", json=change, headers=headers)
            )
        if not told.there:
            await _unless(
                409, call(http, "POST", url, json=self._event(key, told))
            )  # 409: its answer was lost
            told.there = True
        if told.count == sent:
            self._queue.pop(key, None)

    def _event(self, key: Key, told: SentEvent) -> dict[str, Any]:
        pod = told.owner
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": told.name, "namespace": pod.namespace or "default"},
            "involvedObject": {
                "apiVersion": pod.api_version,
                "kind": pod.kind,
                **({"namespace": pod.namespace} if pod.namespace else {}),
                "name": pod.name,
                "uid": pod.object_uid,
            },
            "type": told.kind,
            "reason": key.reason,
            "message": key.message,
            "count": told.count,
            "firstTimestamp": _time(told.first),
            "lastTimestamp": _time(told.last),
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
        }


async def _unless(status: int, request: Coroutine[None, None, Any]) -> bool:
    """Whether the request was done; False where it was answered with this status."""
    try:
        await request
    except ApiFault as fault:
        if fault.status != status:
            raise
        return False
    return True


def _passes(error: BaseException) -> bool:
    """Whether time helps: no answer, an overload, or a token that is about to be renewed."""
    return isinstance(error, ApiFault) and (
        error.status in (0, 401, 408, 429) or error.status >= 500
    )


def _remember(known: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Keep the latest ones. One that is known keeps its place in the queue it waits in."""
    known[key] = value
    if len(known) > most:
        known.popitem(last=False)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
