"""One fake kubelet that stands for many nodes: the wall time of each verb on a large cluster.

What the agents answer is made up and at once there, so the times are those of the client, of its
connections, and of the API server.
"""

import asyncio
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from proofs.tools.operator import Operator
from proofs.tools.report import Report
from testbed import deploy
from testbed.bed import Bed

# Nodes; in CI, which may be busy, fewer.
NODES, FEW = 200, 40
PODS = 20
# Seconds that `status` may take on all these nodes.
MOST = 10.0
# Some nodes' agents have to be asked, or those of one pod.
VERBS = (
    *(("pods", "-A"), ("plan", "-A"), ("events", "-A"), ("doctor", "--all"), ("version",)),
    *(("bundle", "--all", "-"), ("show", "default/web-0")),
    ("trace", "default/web-0", "tcp", "default/web-1:80"),
)
# Verbs about one pod.
ONE_POD = ("show", "trace")
_PROTOCOL = "v4.channel.k8s.io"
_STDOUT, _END = 1, 3
Object = dict[str, Any]


def run(bed: Bed, report: Report, nodes: int) -> None:
    """Add a row for each verb. Raise at the first that fails."""
    ask, report.nodes = Operator.of(bed), nodes
    with _kubelet(bed) as port:
        _make(bed, nodes, port)
        with report.row("status") as row:
            ended = row.took(ask("status"))
            assert ended.text.startswith(f"agents\t{nodes} of {nodes} nodes ready"), ended
            row.record(*ended.text.splitlines())
            assert ended.seconds <= MOST or nodes < NODES, ended.seconds
        for words in VERBS:
            with report.row(words[0] if words[0] in ONE_POD else " ".join(words)) as row:
                ended = row.took(ask(*words))
                assert (ended.code, ended.stdout[:1] == b"") == (0, words[0] == "plan"), ended
                row.record(f"{len(ended.stdout)} bytes")


def _answers() -> dict[str, bytes]:
    """Return what `ovnlet` prints on each node, by its command."""
    pod = {"namespace": "default", "ifname": "eth0", "ips": "10.16.0.5", "state": "attached"}
    pods = [
        {**pod, "pod": f"web-{i}", "container_id": "c" * 64, "problems": []} for i in range(PODS)
    ]
    status = {"version": "0.1.0", "attachments": PODS, "states": {"attached": PODS}}
    ok = {"area": "OVS", "level": "note", "what": "ovsdb-server answers", "fix": ""}
    port = {"name": "x_h", "ofport": 3, "error": "", "iface_id": "x", "installed": True}
    hop = {
        **{"state": "attached", "steps": [], "interference": [], "ips": "10.16.0.5"},
        **{"error": "", "node": [], "port": port | {"mac": "02:00:00:00:00:01"}},
        "hop": {"next": "10.16.0.6", "mac": "02:00:00:00:00:02", "source": "10.16.0.5"},
        "flows": {"result": "tunnel", "remote": "192.0.2.1", "actions": "", "trace": []},
        "listens": {"tcp": True, "udp": True},
    }
    event = {"time": "2026-01-01", "type": "Normal", "namespace": "default", "pod": "web-0"}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("ovnlet-bundle/log.json"), io.BytesIO())
    return {
        "status": json.dumps({**status, "problems": [], "repairs": 0}).encode(),
        "pods": json.dumps(pods).encode(),
        "plan": json.dumps([{**one, "steps": []} for one in pods]).encode(),
        "doctor": json.dumps([ok]).encode(),
        "--version": b"ovnlet, version 0.1.0\n",
        "bundle": content.getvalue(),
        "events": json.dumps({**event, "reason": "x", "message": "x"}).encode() + b"\n",
        "show": json.dumps([{**pods[0], "resources": [], "steps": []}]).encode(),
        "hop": json.dumps(hop).encode(),
    }


@contextmanager
def _kubelet(bed: Bed) -> Iterator[int]:
    """Serve `exec` for all nodes in a thread of its own; give the port."""
    answers, started = _answers(), threading.Event()
    port: list[int] = []
    loop = asyncio.new_event_loop()

    async def execute(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(_PROTOCOL,))
        await socket.prepare(request)
        command = request.query.getall("command")
        await socket.send_bytes(bytes([_STDOUT]) + answers[command[1]])
        await socket.send_bytes(bytes([_END]) + json.dumps({"status": "Success"}).encode())
        await socket.close()
        return socket

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/exec/{namespace}/{pod}/{container}", execute)
        runner = web.AppRunner(app)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(bed.ids.directory / "server.crt", bed.ids.directory / "server.key")
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port.append(int(runner.addresses[0][1]))
        started.set()

    def work() -> None:
        loop.create_task(serve())  # noqa: RUF006 - the loop ends with the bed
        loop.run_forever()

    threading.Thread(target=work, daemon=True).start()
    assert started.wait(30)
    try:
        yield port[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)


def _make(bed: Bed, nodes: int, port: int) -> None:
    """Make the DaemonSet, the Nodes, and a Ready pod of the agent on each."""
    for body in (
        deploy.PROJECT.joinpath("manifests/base/daemonset.yaml").read_text().split("\n---\n")
    ):
        bed.kubectl("-n", deploy.NAMESPACE, "apply", "-f", "-", stdin=body)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _node(bed, number, port), range(nodes)))
    for number in range(2):
        _pod(bed, "default", f"web-{number}", f"m{number:03}", f"10.16.0.{5 + number}")


def _node(bed: Bed, number: int, port: int) -> None:
    name, ready = f"m{number:03}", [{"type": "Ready", "status": "True"}]
    endpoint = {"kubeletEndpoint": {"Port": port}}
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    status = {"conditions": ready, "addresses": addresses, "daemonEndpoints": endpoint}
    meta = {"name": name, "labels": {"kubernetes.io/os": "linux"}}
    bed.api.create("/api/v1/nodes", {"metadata": meta, "status": status})
    _pod(bed, deploy.NAMESPACE, f"ovnlet-{name}", name, "127.0.0.1")


def _pod(bed: Bed, namespace: str, name: str, node: str, address: str) -> None:
    """Make a pod that runs on a node and is Ready."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    container = {"name": "agent", "image": "localhost/ovnlet:latest"}
    labels = {"app.kubernetes.io/name": "ovnlet"} if namespace == deploy.NAMESPACE else {}
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [container]},
    }
    bed.api.create(pods, body)
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    bed.api.patch(f"{pods}/{name}/status", {"status": status})
