"""The API server over plain HTTPS: requests of one line, and watches as a stream of events."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Api:
    """Errors are OSErrors: `urllib.error.HTTPError` where the server answered."""

    url: str
    ca: Path
    token: str

    def get(self, path: str) -> Object:
        return self._answer("GET", path)

    def create(self, path: str, body: Object) -> Object:
        return self._answer("POST", path, body)

    def patch(self, path: str, body: Object) -> Object:
        """A merge patch; with a `metadata.uid` in it, it fails for another object of the same name."""
        return self._answer("PATCH", path, body)

    def delete(self, path: str) -> Object:
        return self._answer("DELETE", path)

    def watch(self, path: str) -> Iterator[tuple[str, Object]]:
        """A list told as ADDED, then what happens, until the server ends it."""
        listed = self.get(path)
        for item in listed["items"]:
            yield "ADDED", item
        yield "BOOKMARK", listed
        mark = "&" if "?" in path else "?"
        with self.open(
            "GET", f"{path}{mark}watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
        ) as told:
            for line in told:
                event = json.loads(line)
                yield event["type"], event["object"]

    def open(self, method: str, path: str, body: Object | None = None) -> HTTPResponse:
        headers = {"Authorization": f"Bearer {self.token}"}
        headers["Content-Type"] = (
            "application/merge-patch+json" if method == "PATCH" else "application/json"
        )
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - ours
        context = ssl.create_default_context(cafile=str(self.ca))
        answer: HTTPResponse = urllib.request.urlopen(request, context=context)  # noqa: S310
        return answer

    def _answer(self, method: str, path: str, body: Object | None = None) -> Object:
        with self.open(method, path, body) as answer:
            return dict(json.load(answer))
