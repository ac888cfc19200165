"""`kubectl ovnlet bundle`: the archives of many nodes and of the controllers as one.

The agents leave out secrets before anything leaves a node; here the same is done with what comes
from the API server. Each node's archive is a file of its own on disk until it is copied, so a large
cluster costs no memory.
"""

import hashlib
import io
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click

from ovnlet.cli.bundle import without_secrets
from ovnlet.cluster.access import CONTROLLER, Access, Agent
from ovnlet.cluster.nodes import Answers, agents, each
from ovnlet.cluster.options import ClusterCommand, with_cluster, with_nodes
from ovnlet.cluster.output import leave
from ovnlet.core.errors import NotReady

_TIMEOUT = 180.0
_TOP = "ovnlet-cluster"
_STDOUT = Path("-")
# Lines of each controller's log.
_LINES = 5000
# Of a Node: labels and annotations may be anybody's.
_NODE = ("nodeInfo", "conditions", "addresses")


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet bundle --all report.tar": "of all nodes",
        "kubectl ovnlet bundle --all - | tar --list": "what would be in it",
    },
)
@click.argument(
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default="ovnlet-cluster.tar",
)
@click.option("--all", "everywhere", is_flag=True, help="Of all nodes")
@click.option("--node", "names", multiple=True, metavar="NODE", help="Of this node; repeatable")
@with_nodes
@with_cluster
def bundle(
    access: Access, file: Path, everywhere: bool, names: tuple[str, ...], selector: str
) -> None:
    """Write an archive of many nodes for a bug report, without credentials. `-` is standard output.

    `manifest.json` in it lists each entry with size and SHA-256, and the nodes whose part is
    missing and why. Exit with code 1 if one is missing; the archive then has the rest.
    """
    if everywhere == bool(names):
        raise click.UsageError("give --node or --all")
    chosen = [one for one in agents(access, selector) if everywhere or one.node in names]
    if missing := sorted(set(names) - {agent.node for agent in chosen}):
        raise NotReady(f"no agent on node {', '.join(missing)}")
    with ExitStack() as stack:
        answers = each(
            chosen, lambda agent: stack.enter_context(_of_node(access, agent)), "collecting"
        )
        target = sys.stdout.buffer if file == _STDOUT else stack.enter_context(_created(file))
        listed = _write(target, access, answers)
    click.echo(f"{file}: {', '.join(listed)}", err=file == _STDOUT)
    leave(0, answers.failed)


def _created(file: Path) -> IO[bytes]:
    """Create the file, readable by its owner alone. Raise ClickException if that fails."""
    try:
        file.touch(mode=0o600)
        return file.open("wb")
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _of_node(access: Access, agent: Agent) -> IO[bytes]:
    """Return a node's archive as a file without a name. Raise NotReady if it is not whole."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        _fill(file, access, agent)
    except NotReady:
        file.close()
        raise
    return file


def _fill(file: IO[bytes], access: Access, agent: Agent) -> None:
    """Write a node's archive to a file. Raise NotReady if it is not whole."""
    ran = access.run(agent, ["ovnlet", "bundle", "-"], into=file, timeout=_TIMEOUT)
    if ran.code:
        raise NotReady(ran.error)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            archive.getnames()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise NotReady(f"its archive is cut off: {error}") from error


def _write(target: IO[bytes], access: Access, answers: Answers[IO[bytes]]) -> list[str]:
    """Write the archive, its manifest last, and return the names of the entries."""
    entries: list[dict[str, Any]] = []
    with tarfile.open(fileobj=target, mode="w|") as archive:
        for node, file in answers.given.items():
            entries.append(_add(archive, f"nodes/{node}.tar.gz", file))
        for name, text in _of_cluster(access):
            body = io.BytesIO(without_secrets(text).encode())
            entries.append(_add(archive, name, body))
        manifest = {"entries": entries, "missing": answers.errors()}
        body = io.BytesIO(json.dumps(manifest, indent=1).encode())
        _add(archive, "manifest.json", body)
    return [*(entry["name"] for entry in entries), "manifest.json"]


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> dict[str, Any]:
    """Add an entry, and return what the manifest says of it."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    entry = tarfile.TarInfo(f"{_TOP}/{name}")
    entry.size, entry.mtime, entry.mode = file.seek(0, io.SEEK_END), int(time.time()), 0o600
    file.seek(0)
    archive.addfile(entry, file)
    return {"name": name, "bytes": entry.size, "sha256": digest}


def _of_cluster(access: Access) -> Iterator[tuple[str, str]]:
    """Yield what only the API server has: nodes, ovnlet's pods, and the controllers' logs."""
    yield "nodes.json", _json(lambda: _nodes(access))
    yield "pods.json", _json(lambda: [_pod(pod) for pod in access.pods(access.namespace)])
    try:
        pods = access.pods(access.namespace, f"app.kubernetes.io/name={CONTROLLER}")
    except NotReady as error:
        yield "controllers/error.txt", str(error)
        return
    for pod in pods:
        name = pod["metadata"]["name"]
        try:
            yield f"controllers/{name}.log", access.log(name, _LINES)
        except NotReady as error:
            yield f"controllers/{name}.log", str(error)


def _nodes(access: Access) -> list[dict[str, Any]]:
    found = access.read("CoreV1Api", "list_node")["items"]
    return [
        {"name": node["metadata"]["name"], **{key: node["status"].get(key) for key in _NODE}}
        for node in found
    ]


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    containers = [
        {"name": one["name"], "image": one["image"], "args": one.get("args")}
        for one in pod["spec"]["containers"]
    ]
    node = pod["spec"].get("nodeName")
    status = pod["status"]
    return {
        "name": pod["metadata"]["name"],
        "node": node,
        "containers": containers,
        "status": status,
    }


def _json(read: Any) -> str:
    try:
        return json.dumps(read(), indent=1, sort_keys=True)
    except NotReady as error:
        return json.dumps({"error": str(error)})
