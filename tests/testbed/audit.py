"""The API server's audit log: who wrote which annotations, and when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from testbed.bed import Bed

WRITES = ("create", "update", "patch")


@dataclass(frozen=True, slots=True)
class Annotated:
    """One write that succeeded.

    ``at`` is when the API server received the request, in seconds since the epoch.
    """

    user: str
    verb: str
    resource: str
    name: str
    uid: str
    annotations: dict[str, str | None]
    at: float


def annotated(bed: Bed, *resources: str) -> Iterator[Annotated]:
    """Yield every write to objects of these resources, also those without annotations.

    A pod's creation is such a write.
    """
    for line in bed.audit_log.read_text().splitlines():
        event = json.loads(line)
        reference = event.get("objectRef", {})
        done = (
            event["stage"] == "ResponseComplete"
            and event.get("responseStatus", {}).get("code", 0) < 400
        )
        if done and event["verb"] in WRITES and reference.get("resource") in resources:
            yield _read(event, reference)


def bound(bed: Bed) -> Iterator[tuple[str, float]]:
    """Yield each pod that the scheduler placed, with the time of its binding.

    A pod that was created with a node name has no binding.
    """
    for line in bed.audit_log.read_text().splitlines():
        event = json.loads(line)
        reference = event.get("objectRef", {})
        if (reference.get("resource"), reference.get("subresource")) == ("pods", "binding"):
            yield (
                reference["name"],
                datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
            )


def sources(bed: Bed, path: str) -> Counter[str]:
    """Count the answered requests for this path, with its query, by the client's address."""
    events = map(json.loads, bed.audit_log.read_text().splitlines())
    return Counter(
        event["sourceIPs"][0]
        for event in events
        if event["requestURI"] == path and event["stage"] == "ResponseComplete"
    )


def _read(event: dict[str, Any], reference: dict[str, Any]) -> Annotated:
    """Read one write; a JSON patch counts as one that writes every annotation it names."""
    body = event.get("requestObject")
    if isinstance(body, list):
        paths = [str(operation.get("path", "")) for operation in body]
        annotations = {
            p.rpartition("/")[2].replace("~1", "/"): "" for p in paths if "/annotations/" in p
        }
        metadata: dict[str, Any] = {"annotations": annotations}
    else:
        metadata = (body or {}).get("metadata") or {}
    return Annotated(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=reference["resource"],
        name=reference.get("name") or metadata.get("name") or "",
        uid=reference.get("uid") or metadata.get("uid") or "",
        annotations=metadata.get("annotations") or {},
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
    )
