"""Kubernetes Events about pods and other objects: counted, rate-limited, sent in the background.

Events are for people who read `kubectl describe`; the limits keep them few enough to need no
filter. Nothing waits for an Event, and none is kept over a restart.
"""

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

from ovnlet.kube.session import Access, ApiFault, call, is_transient

COMPONENT = "ovnlet"
SAME_EVENT = 3600.0  # seconds in which a repetition raises the count of the first Event
BURST = 10  # Events of one object and reason at once
REFILL = 60.0  # seconds until one more of them is allowed
MAX_QUEUED, MAX_KNOWN = 256, 1024
MAX_MESSAGE = 1024  # characters
MAX_BACKOFF = 5.0  # seconds
log = structlog.get_logger("events")

Kind = Literal["Normal", "Warning"]
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Subject(Protocol):
    """The object that an Event is about. The Event of a cluster-scoped object is in `default`."""

    @property
    def kind(self) -> str:
        """The API kind, such as `Pod`."""

    @property
    def api_version(self) -> str:
        """Group and version, such as `v1`."""

    @property
    def namespace(self) -> str:
        """The namespace; empty for a cluster-scoped object."""

    @property
    def name(self) -> str:
        """The object's name."""

    @property
    def object_uid(self) -> str:
        """The ``metadata.uid``."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two Events the same: the object's UID, the reason and the message."""

    uid: str
    reason: str
    message: str


@dataclass(slots=True)
class SentEvent:
    """One Event and its repetitions.

    ``created`` is whether the API server has it. ``since`` is the loop time of the first
    occurrence, ``first`` and ``last`` are wall-clock times.
    """

    subject: Subject
    kind: Kind
    name: str
    since: float
    first: datetime
    last: datetime
    count: int = 0
    created: bool = False


@dataclass(slots=True)
class TokenBucket:
    """The Events that one object may still have of one reason."""

    since: float
    left: float = field(default=BURST)

    def take(self, now: float) -> bool:
        """Return whether a token was left at ``now`` (loop seconds), and spend it."""
        self.left = min(BURST, self.left + (now - self.since) / REFILL)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Recorder:
    """Takes Events with ``record`` and sends them with ``run``.

    At most 256 Events wait to be sent: while the API server is away the oldest are dropped.
    """

    def __init__(self, access: Access, node: str) -> None:
        self._access, self._node = access, node
        self._queue: OrderedDict[Key, SentEvent] = OrderedDict()
        self._known: OrderedDict[Key, SentEvent] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()
        self._filled = asyncio.Event()

    def record(self, subject: Subject, kind: Kind, reason: str, message: str) -> None:
        """Queue an Event about ``subject``. Returns at once and never fails.

        A repetition within an hour raises the count of the first Event. An Event beyond the rate
        limit is dropped.
        """
        key = Key(subject.object_uid, reason, message[:MAX_MESSAGE])
        now = asyncio.get_running_loop().time()
        event = self._known.get(key)
        if event is None or now - event.since > SAME_EVENT:
            name = f"{subject.name[:236].rstrip('-.')}.{secrets.token_hex(8)}"
            event = SentEvent(subject, kind, name, now, datetime.now(UTC), datetime.now(UTC))
            _put_bounded(self._known, key, event, MAX_KNOWN)
        event.count += 1
        event.last = datetime.now(UTC)
        # One bucket per reason: many Events about repairs must not use up the one that says that
        # repairs are held back.
        scope = (subject.object_uid, reason)
        bucket = self._buckets.get(scope) or TokenBucket(now)
        _put_bounded(self._buckets, scope, bucket, MAX_KNOWN)
        if key in self._queue or bucket.take(now):
            _put_bounded(self._queue, key, event, MAX_QUEUED)
            self._filled.set()

    async def run(self) -> None:
        """Send queued Events, and retry without end. Returns only when cancelled.

        No connection is kept open between bursts.
        """
        self._filled.set()  # what an earlier run left
        while True:
            await self._filled.wait()
            self._filled.clear()
            async for attempt in AsyncRetrying(
                wait=wait_random_exponential(multiplier=0.25, min=0.1, max=MAX_BACKOFF),
                retry=retry_if_exception(is_transient),
            ):
                with attempt:
                    await self._flush()

    async def _flush(self) -> None:
        """Send the whole queue over one session. Raises ApiFault if a retry may help."""
        if not self._queue:
            return
        async with self._access.session() as http:
            while self._queue:
                key = next(iter(self._queue))
                try:
                    await self._send(http, key, self._queue[key])
                except ApiFault as fault:
                    if is_transient(fault):
                        raise
                    log.warning("Event rejected", uid=key.uid, reason=key.reason, error=str(fault))
                    self._queue.pop(key, None)
                except Exception:
                    self._queue.pop(key, None)  # one bad Event must not hold up the others
                    raise

    async def _send(self, http: aiohttp.ClientSession, key: Key, event: SentEvent) -> None:
        """PATCH an Event that the API server has; create one that it lacks or has expired."""
        sent = event.count
        namespace = event.subject.namespace or "default"
        url = f"{self._access.server}/api/v1/namespaces/{namespace}/events"
        if event.created:
            change = {"count": sent, "lastTimestamp": _time(event.last)}
            headers = {"Content-Type": "application/merge-patch+json"}
            event.created = await _unless(
                404, call(http, "PATCH", f"{url}/{event.name}", json=change, headers=headers)
            )
        if not event.created:
            # 409: an earlier POST succeeded, but its answer was lost.
            await _unless(409, call(http, "POST", url, json=self._body(key, event)))
            event.created = True
        if event.count == sent:
            self._queue.pop(key, None)

    def _body(self, key: Key, event: SentEvent) -> dict[str, Any]:
        subject = event.subject
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": event.name, "namespace": subject.namespace or "default"},
            "involvedObject": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                **({"namespace": subject.namespace} if subject.namespace else {}),
                "name": subject.name,
                "uid": subject.object_uid,
            },
            "type": event.kind,
            "reason": key.reason,
            "message": key.message,
            "count": event.count,
            "firstTimestamp": _time(event.first),
            "lastTimestamp": _time(event.last),
            "source": {"component": COMPONENT, "host": self._node},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node,
        }


async def _unless(status: int, request: Coroutine[None, None, Any]) -> bool:
    """Return True if the request succeeded, False if it was answered with ``status``.

    Raises ApiFault for every other failure.
    """
    try:
        await request
    except ApiFault as fault:
        if fault.status != status:
            raise
        return False
    return True


def _put_bounded(entries: OrderedDict[_K, _V], key: _K, value: _V, limit: int) -> None:
    """Set an entry and drop the oldest one beyond ``limit``. A known key keeps its position."""
    entries[key] = value
    if len(entries) > limit:
        entries.popitem(last=False)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
