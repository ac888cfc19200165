"""An agent that is given a collector sends a trace of each ADD, with the stages that it had."""

import asyncio
import json
import sys
from typing import Any

from integration.cni.agent.node import AgentNode, until

KEPT = "/tmp/traces"
# Appends each body to a file.
COLLECTOR = f"""
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("{KEPT}", "ab") as file:
            file.write(self.path.encode() + b" " + body + b"\\n")
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", 4318), Handler).serve_forever()
"""


def spans(node: AgentNode) -> list[dict[str, Any]]:
    path = node.space.path(KEPT)
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        where, _, body = line.partition(" ")
        assert where == "/v1/traces"
        (resource,) = json.loads(body)["resourceSpans"]
        found += resource["scopeSpans"][0]["spans"]
    return found


async def test_an_add_is_a_trace_and_so_is_one_that_fails(bare: AgentNode) -> None:
    collector = bare.space.spawn("collector", [sys.executable, "-c", COLLECTOR])
    try:
        bare.start("--otlp=http://127.0.0.1:4318", "--add-budget=3")
        late, lost = [await bare.sandbox(bare.pod(annotated=False)) for _ in range(2)]
        adding = asyncio.create_task(bare.add(late))
        await asyncio.sleep(0.5)
        bare.annotate(late.pod, late.pod.annotations)
        await adding
        await bare.call("ADD", lost, None)

        async def both() -> bool:
            return len([one for one in spans(bare) if one["name"] == "ADD"]) == 2

        await until(both, "two traces")
        found = spans(bare)
    finally:
        collector.stop()
        bare.space.path(KEPT).unlink(missing_ok=True)
    first, second = (one for one in found if one["name"] == "ADD")
    stages = {one["name"] for one in found if one.get("parentSpanId") == first["spanId"]}
    assert {"annotation", "kernel", "ovsdb", "flows"} <= stages
    names = {one["key"]: one["value"]["stringValue"] for one in first["attributes"]}
    assert (names["k8s.pod.name"], names["container.id"]) == (late.pod.name, late.container_id)
    assert "status" not in first
    assert second["status"]["code"] == 2
    waits = {one["name"] for one in found if one.get("parentSpanId") == second["spanId"]}
    assert waits == {"annotation"}
