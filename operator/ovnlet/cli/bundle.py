"""`ovnlet bundle`: one archive with everything that a bug report needs, without secrets.

Files, rows and columns are collected by name: ours, and what OVN keeps beside them. Of other files
only the names are. As a second defence, text that looks like a credential is replaced everywhere,
and so are the credentials that this process itself uses.
"""

import asyncio
import io
import json
import platform
import re
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from ovnlet import client
from ovnlet.cli.progress import progress
from ovnlet.core.errors import OvnletError
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.settings import Settings
from ovnlet.doctor import examination
from ovnlet.drivers.ovsdb import jsonrpc
from ovnlet.kube.session import Access, BadCredentials
from ovnlet_cni import installer

Row = dict[str, Any]

# Text that looks like a credential, whatever file it is in.
_SECRETS = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON web token
    r"|(?i:bearer|authorization:\s*basic)\s+[\w.~+/=-]{8,}"
    # Also one that is cut off. A text of nothing but first lines takes no longer.
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----)[^\"'{}])*"
    r"(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
# A name and its value; also the keys of a kubeconfig: client-key-data, client-certificate-data.
# JSON that is a string in JSON, as in an annotation, has backslashes before its quotes.
_NAMED = re.compile(
    r"(\b(?:token|password|passwd|secret|psk|(?:api|access)[_-]?key|client-[a-z]+-data)\b"
    r"\\*[\"']?\s*[=:]\s*)(?!null\b|true\b|false\b)"
    r"(?:(\\*[\"'])(?:(?!\2)[^\n])+|(?:[^\s\"',}\\]|\\+[^\s\"'\\]){4,})",
    re.IGNORECASE,
)
_HIDDEN = "(left out)"
_STDOUT = Path("-")
# Files with an answer of the agent's debug API each.
_AGENT_PARTS = {
    "attachments.json": "/v1/attachments",
    "plan.json": "/v1/plan",
    "log.json": "/v1/log",
}
# The tables and columns to collect: of Bridge the integration bridge, of Open_vSwitch the keys
# of OVN, of the other tables the rows with our mark.
_OVSDB = {
    "Open_vSwitch": ("_uuid", "ovs_version", "db_version", "datapath_types", "external_ids"),
    "Bridge": ("_uuid", "name", "datapath_type", "fail_mode", "protocols", "ports"),
    "Port": ("_uuid", "name", "interfaces", "qos", "tag", "trunks", "external_ids"),
    "Interface": (
        *("_uuid", "name", "type", "ofport", "ofport_request", "mac_in_use", "mtu", "mtu_request"),
        *("admin_state", "link_state", "error", "ingress_policing_rate", "ingress_policing_burst"),
        *("external_ids", "statistics"),
    ),
    "QoS": ("_uuid", "type", "queues", "other_config", "external_ids"),
    "Queue": ("_uuid", "other_config", "external_ids"),
}
_OVNS_KEY = re.compile(r"ovn-[\w-]+|system-id|hostname|rundir")


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
    """Return the text with ``own`` secrets and everything that looks like one replaced.

    JSON stays JSON.
    """
    for secret in own:
        text = text.replace(secret, _HIDDEN)
    return _NAMED.sub(rf"\1\2{_HIDDEN}", _SECRETS.sub(_HIDDEN, text))


async def _parts(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """Yield file names and contents. An error becomes the content."""
    yield (
        "versions.json",
        _json({"ovnlet": version("ovnlet"), "python": platform.python_version(), **_kernel()}),
    )
    yield "settings.json", json.dumps(asdict(settings), indent=1, default=str)
    yield "doctor.json", _json([asdict(finding) for finding in await examination.examine(settings)])
    for name, path in _AGENT_PARTS.items():
        yield name, await _ask(settings.cni_socket, path)
    yield "ovsdb.json", await _rows(settings)
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


async def _rows(settings: Settings) -> str:
    """Return what is ``allowed`` of OVSDB, as JSON."""
    try:
        peer = await jsonrpc.connect(settings.ovsdb, "ovsdb-server")
        try:
            selects = [{"op": "select", "table": table, "where": []} for table in _OVSDB]
            answers = await peer.call("transact", ["Open_vSwitch", *selects])
        finally:
            peer.drop()
    except (OvnletError, OSError) as error:
        return _json({"error": str(error)})
    found = {table: answer["rows"] for table, answer in zip(_OVSDB, answers, strict=True)}
    return _json(allowed(found, settings.bridge))


def allowed(found: Mapping[str, list[Row]], bridge: str) -> dict[str, list[Row]]:
    """Return the rows and columns that may be in an archive, by table.

    Other software keeps keys of its own in the root row, and in ``options`` of its tunnels.
    """
    return {
        table: [
            {name: _own_keys(table, name, row[name]) for name in _OVSDB[table] if name in row}
            for row in rows
            if _is_collected(table, row, bridge)
        ]
        for table, rows in found.items()
    }


def _is_collected(table: str, row: Row, bridge: str) -> bool:
    match table:
        case "Open_vSwitch":
            return True
        case "Bridge":
            return bool(row["name"] == bridge)
        case _:
            return MARK in dict(row.get("external_ids", ["map", []])[1])


def _own_keys(table: str, column: str, value: Any) -> Any:
    """Return the value; of the root row's external_ids only OVN's keys."""
    if (table, column) != ("Open_vSwitch", "external_ids"):
        return value
    return ["map", [pair for pair in value[1] if _OVNS_KEY.fullmatch(pair[0])]]


def _files(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield our records and CNI configurations, each as directory/name and text.

    Of all files in the CNI directory yield name, size and mode.
    """
    run_dir, conf_dir = Path(settings.run_dir), Path(settings.cni_conf_dir or "/etc/cni/net.d")
    yield "net.d.json", _json(list(_listing(conf_dir)))
    for path in (
        *sorted(run_dir.glob("sandboxes/*.json")),
        *(run_dir / name for name in ("chassis.json", "encap.json", "gateway.json", "node.json")),
        *(conf_dir / name for name in sorted(installer.ours(conf_dir))),
    ):
        try:
            yield f"{path.parent.name}/{path.name}", path.read_text(errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            yield f"{path.parent.name}/{path.name}", str(error)


def _listing(directory: Path) -> Iterator[dict[str, object]]:
    try:
        for path in sorted(directory.iterdir()):
            status = path.lstat()
            yield {"name": path.name, "size": status.st_size, "mode": f"{status.st_mode:o}"}
    except OSError as error:
        yield {"error": str(error)}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str)
