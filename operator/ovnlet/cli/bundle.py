"""`ovnlet bundle`: one archive with everything that a bug report needs, without secrets.

Text that looks like a credential is replaced everywhere, and so are the credentials that this
process itself uses.
"""

import asyncio
import io
import json
import platform
import re
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ovnlet import __version__, client
from ovnlet.cli.progress import progress
from ovnlet.core.errors import OvnletError
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.settings import Settings
from ovnlet.doctor import examination
from ovnlet.drivers.ovsdb import jsonrpc
from ovnlet.kube.session import Access, BadCredentials

# Text that looks like a credential, whatever file it is in.
_SECRETS = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON web token
    r"|(?i:bearer)\s+[\w.~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"
    r"|(?i:\b(?:token|password|secret)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]{4,}",
    re.DOTALL,
)
_HIDDEN = "(left out)"
_STDOUT = Path("-")
# Files with an answer of the agent's debug API each.
_AGENT_PARTS = {
    "attachments.json": "/v1/attachments",
    "plan.json": "/v1/plan",
    "log.json": "/v1/log",
}
# The tables to collect; of those in _MARKED only rows with our mark.
_OVSDB = ("Open_vSwitch", "Bridge", "Port", "Interface", "QoS", "Queue")
_MARKED = ("Port", "Interface", "QoS", "Queue")


def write_bundle(settings: Settings, file: Path) -> None:
    """Write the archive to ``file`` (`-` is standard output) and print what is in it.

    The list goes to standard error if the archive goes to standard output. Raises ClickException if
    the file cannot be written.
    """
    try:
        with progress("collecting") as update:
            content, names = asyncio.run(collect(settings, update))
        if file == _STDOUT:
            sys.stdout.buffer.write(content)
        else:
            file.touch(mode=0o600)
            file.write_bytes(content)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {', '.join(names)}", err=file == _STDOUT)


async def collect(
    settings: Settings, update: Callable[[str], None] = lambda _: None
) -> tuple[bytes, list[str]]:
    """Return the archive and the names of its entries.

    A part that is not available becomes an entry that says why. ``update`` gets a text after each
    part.
    """
    content = io.BytesIO()
    own, names = _own_secrets(settings), []
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        async for name, text in _parts(settings):
            body = without_secrets(text, own).encode()
            entry = tarfile.TarInfo(f"ovnlet-bundle/{name}")
            entry.size, entry.mtime, entry.mode = len(body), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(body))
            names.append(name)
            update(f"collected {name}")
    return content.getvalue(), names


def _own_secrets(settings: Settings) -> list[str]:
    """Return the token and the key that this process uses for the API server."""
    try:
        credentials = Access(
            settings.kubeconfig, server=settings.api_server or "https://none"
        ).read()
    except BadCredentials:
        return []
    return [text for text in (credentials.token, credentials.certificate) if text]


def without_secrets(text: str, own: Iterable[str] = ()) -> str:
    """Return the text with ``own`` secrets and everything that looks like one replaced."""
    for secret in own:
        text = text.replace(secret, _HIDDEN)
    return _SECRETS.sub(_HIDDEN, text)


async def _parts(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """Yield file names and contents. An error becomes the content."""
    yield (
        "versions.json",
        _json({"ovnlet": __version__, "python": platform.python_version(), **_kernel()}),
    )
    yield "settings.json", settings.model_dump_json(indent=1)
    yield "doctor.json", _json([asdict(finding) for finding in await examination.examine(settings)])
    for name, path in _AGENT_PARTS.items():
        yield name, await _ask(settings.cni_socket, path)
    yield "ovsdb.json", await _rows(settings.ovsdb)
    for name, text in _files(settings):
        yield name, text


def _kernel() -> dict[str, str]:
    system = platform.uname()
    return {"kernel": system.release, "machine": system.machine}


async def _ask(socket: str, path: str) -> str:
    try:
        _, answer = await client.ask(socket, path)
        return _json(answer)
    except OvnletError as error:
        return _json({"error": str(error)})


async def _rows(path: str) -> str:
    """Return our rows of OVSDB by table, with all bridges and the root row, as JSON."""
    try:
        peer = await jsonrpc.connect(path, "ovsdb-server")
        try:
            selects = [{"op": "select", "table": table, "where": []} for table in _OVSDB]
            answers = await peer.call("transact", ["Open_vSwitch", *selects])
        finally:
            peer.drop()
    except (OvnletError, OSError) as error:
        return _json({"error": str(error)})
    found = {table: answer["rows"] for table, answer in zip(_OVSDB, answers, strict=True)}
    return _json(
        {t: [row for row in rows if t not in _MARKED or _is_ours(row)] for t, rows in found.items()}
    )


def _is_ours(row: dict[str, Any]) -> bool:
    return MARK in dict(row.get("external_ids", ["map", []])[1])


def _files(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the agent's records and the CNI configurations, each as directory/name and text."""
    run_dir, conf_dir = Path(settings.run_dir), Path(settings.cni_conf_dir or "/etc/cni/net.d")
    for path in (
        *sorted(run_dir.glob("sandboxes/*")),
        *sorted(run_dir.glob("*.json")),
        *sorted(conf_dir.glob("*")),
    ):
        try:
            text = path.read_text(errors="replace") if path.is_file() else ""
        except OSError as error:
            text = str(error)
        yield f"{path.parent.name}/{path.name}", text


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str)
