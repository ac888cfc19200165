"""One archive for a bug report: what a person would be asked for next, without secrets.

Text that looks like a credential is replaced wherever it stands, and so are the very credentials that this process has.
"""

import io
import json
import platform
import re
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ovnlet import __version__, client
from ovnlet.core.errors import OvnletError
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.settings import Settings
from ovnlet.doctor import examination
from ovnlet.drivers.ovsdb import jsonrpc
from ovnlet.kube.session import Access, BadCredentials

_SECRETS = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON web token
    r"|(?i:bearer)\s+[\w.~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"
    r"|(?i:\b(?:token|password|secret)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]{4,}",
    re.DOTALL,
)
_HIDDEN = "(left out)"
_ASKED = {"attachments.json": "/v1/attachments", "plan.json": "/v1/plan", "log.json": "/v1/log"}
_OVSDB = ("Open_vSwitch", "Bridge", "Port", "Interface", "QoS", "Queue")
_OWN = ("Port", "Interface", "QoS", "Queue")


async def collect(
    settings: Settings, say: Callable[[str], None] = lambda _: None
) -> tuple[bytes, list[str]]:
    """The archive, and the names of what is in it. A part that cannot be had is an entry that says why.

    ``say`` is told of each part that is there.
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
            say(f"collected {name}")
    return content.getvalue(), names


def _own_secrets(settings: Settings) -> list[str]:
    try:
        credentials = Access(
            settings.kubeconfig, server=settings.api_server or "https://none"
        ).read()
    except BadCredentials:
        return []
    return [text for text in (credentials.token, credentials.certificate) if text]


def without_secrets(text: str, own: Iterable[str] = ()) -> str:
    for secret in own:
        text = text.replace(secret, _HIDDEN)
    return _SECRETS.sub(_HIDDEN, text)


async def _parts(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    yield (
        "versions.json",
        _json({"ovnlet": __version__, "python": platform.python_version(), **_kernel()}),
    )
    yield "settings.json", settings.model_dump_json(indent=1)
    yield "doctor.json", _json([asdict(finding) for finding in await examination.examine(settings)])
    for name, path in _ASKED.items():
        yield name, await _asked(settings.cni_socket, path)
    yield "ovsdb.json", await _rows(settings.ovsdb)
    for name, text in _files(settings):
        yield name, text


def _kernel() -> dict[str, str]:
    system = platform.uname()
    return {"kernel": system.release, "machine": system.machine}


async def _asked(socket: str, path: str) -> str:
    try:
        _, told = await client.ask(socket, path)
        return _json(told)
    except OvnletError as error:
        return _json({"error": str(error)})


async def _rows(path: str) -> str:
    """Rows that bear our mark, and the switch that they lie on."""
    try:
        peer = await jsonrpc.connect(path, "ovsdb-server")
        try:
            selects = [{"op": "select", "table": table, "where": []} for table in _OVSDB]
            told = await peer.call("transact", ["Open_vSwitch", *selects])
        finally:
            peer.drop()
    except (OvnletError, OSError) as error:
        return _json({"error": str(error)})
    found = {table: answer["rows"] for table, answer in zip(_OVSDB, told, strict=True)}
    return _json(
        {t: [row for row in rows if t not in _OWN or _is_ours(row)] for t, rows in found.items()}
    )


def _is_ours(row: dict[str, Any]) -> bool:
    return MARK in dict(row.get("external_ids", ["map", []])[1])


def _files(settings: Settings) -> Iterator[tuple[str, str]]:
    run_dir, conf_dir = Path(settings.run_dir), Path(settings.cni_conf_dir or "/etc/cni/net.d")
    for path in (
        *sorted(run_dir.glob("sandboxes/*")),
        *sorted(run_dir.glob("chassis.json")),
        *sorted(conf_dir.glob("*")),
    ):
        try:
            text = path.read_text(errors="replace") if path.is_file() else ""
        except OSError as error:
            text = str(error)
        yield f"{path.parent.name}/{path.name}", text


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str)
