"""API objects as a real API server returned them, for tests without one.

`python -m testbed.recorder` wrote them, one file for each version of the API server. A test changes
a copy where it needs another value.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

Body = dict[str, Any]
FILES = sorted((Path(__file__).parent / "recorded").glob("kubernetes-*.json"))


def recorded(kind: str, name: str, file: Path = FILES[-1]) -> Body:
    """Return a copy of an object, by the plural of its kind and its name."""
    return deepcopy(objects(file)[kind][name])


@cache
def objects(file: Path = FILES[-1]) -> dict[str, dict[str, Body]]:
    """Return all objects of a file, by kind and name."""
    found: dict[str, dict[str, Body]] = json.loads(file.read_text())["objects"]
    return found


def service(*ports: Body, **spec: Any) -> Body:
    """Return the Service `shop/web` with these ports, and with other values of its spec."""
    body = recorded("services", "web")
    body["spec"] |= {"clusterIPs": ["10.96.0.7"], "ports": list(ports), **spec}
    return body


def endpoint_slice(
    *endpoints: Body, ports: list[Body], name: str = "web-1", of: str = "web", family: str = "IPv4"
) -> Body:
    """Return an EndpointSlice of a Service in `shop` with these ports and endpoints."""
    body = recorded("endpointslices", f"web {family}")
    body["metadata"] |= {"name": name, "uid": name}
    body["metadata"]["labels"]["kubernetes.io/service-name"] = of
    return body | {"ports": ports, "endpoints": list(endpoints)}


def endpoint(address: str, **conditions: Any) -> Body:
    """Return the endpoint of a ready pod with another address and these conditions alone."""
    (found,) = (
        each
        for each in recorded("endpointslices", "web IPv4")["endpoints"]
        if each["targetRef"]["name"] == "ready"
    )
    return dict(found) | {"addresses": [address], "conditions": conditions}
