"""A client of the API server over HTTPS: single requests, and watches as a stream of events."""

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
    """A server's URL, its CA and a token.

    Every method raises OSError: `urllib.error.HTTPError` if the server answered with an error.
    """

    url: str
    ca: Path
    token: str

    def get(self, path: str) -> Object:
        """Return an object or a list."""
        return self._answer("GET", path)

    def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection at ``path`` and return it."""
        return self._answer("POST", path, body)

    def patch(self, path: str, body: Object) -> Object:
        """Apply a merge patch and return the object.

        A `metadata.uid` in it makes the server refuse another object of the same name.
        """
        return self._answer("PATCH", path, body)

    def delete(self, path: str) -> Object:
        """Delete an object and return the server's answer."""
        return self._answer("DELETE", path)

    def watch(self, path: str) -> Iterator[tuple[str, Object]]:
        """Yield a list's items as ADDED, the list itself as BOOKMARK, and then events.

        Ends when the server ends the watch.
        """
        listed = self.get(path)
        for item in listed["items"]:
            yield "ADDED", item
        yield "BOOKMARK", listed
        mark = "&" if "?" in path else "?"
        with self.open(
            "GET", f"{path}{mark}watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
        ) as stream:
            for line in stream:
                event = json.loads(line)
                yield event["type"], event["object"]

    def open(self, method: str, path: str, body: Object | None = None) -> HTTPResponse:
        """Send a request and return the open response."""
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
