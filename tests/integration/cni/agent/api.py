"""The API server over one persistent connection: a burst of pods needs one TLS handshake."""

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from testbed.bed import Bed

PODS = "/api/v1/namespaces/default/pods"


class Api:
    """An administrator's client for pods. Not safe for use by two threads."""

    def __init__(self, bed: Bed) -> None:
        host = urlsplit(bed.api_url).netloc
        self._http = HTTPSConnection(
            host, context=ssl.create_default_context(cafile=str(bed.ids.ca))
        )
        self._token = bed.token

    def create(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", PODS, pod)

    def annotate(self, name: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        body = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
        self._ask("PATCH", f"{PODS}/{name}", body, "application/merge-patch+json")

    def delete(self, name: str, grace: int = 0) -> None:
        """Delete a pod. With `grace` seconds it stays and has a deletionTimestamp."""
        self._ask("DELETE", f"{PODS}/{name}?gracePeriodSeconds={grace}")

    def delete_all(self, node: str) -> None:
        self._ask("DELETE", f"{PODS}?gracePeriodSeconds=0&fieldSelector=spec.nodeName%3D{node}")

    def _ask(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        self._http.request(method, path, None if body is None else json.dumps(body), headers)
        with self._http.getresponse() as answer:
            result = json.load(answer)
        assert answer.status < 400, result
        return dict(result)
