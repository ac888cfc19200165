"""The record of attachments: one small file each, on a tmpfs that vanishes when the namespaces do.

Written before the first step of an ADD and removed after the last of a DEL. A torn or foreign file
is reported and skipped, never fatal: the mark in OVSDB and the alias in the pod rebuild it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import structlog

from ovnlet.core import ids
from ovnlet.core.identity import Attachment, AttachmentKey, Record

log = structlog.get_logger("sandboxes")
_VERSION = 1
_SUFFIX = ".json"


class Sandboxes:
    """The records of this boot, in memory and under ``directory``; a write returns when it is in place."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory, self._boot_id = directory, boot_id
        self._records: dict[AttachmentKey, Record] = {}
        self._links: dict[str, AttachmentKey] = {}
        self._sequence = 0

    def load(self) -> None:
        """Read what an earlier agent left. Records of an earlier boot are dropped: their namespaces are gone."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._directory.iterdir()):
            if path.suffix != _SUFFIX:
                continue
            try:
                record = decode(path.read_text())
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("record skipped: not readable as one", path=str(path), error=str(error))
                continue
            if record.attachment.boot_id != self._boot_id:
                path.unlink(missing_ok=True)
                continue
            self._keep(record)
            self._sequence = max(self._sequence, record.attachment.sequence)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))

    def get(self, key: AttachmentKey) -> Record | None:
        """By the whole key, or by the part of a container ID that an adopted port's name told."""
        if record := self._records.get(key):
            return record
        adopted = self._records.get(self._links.get(ids.host_link(*key), key))
        return adopted if adopted and key[0].startswith(adopted.attachment.container_id) else None

    def restore(self) -> None:
        """Write anew what somebody removed or tore; the memory is what holds."""
        for record in self:
            path = self._path(record.attachment.key)
            try:
                intact = decode(path.read_text()) == record
            except (OSError, ValueError, TypeError, KeyError):
                intact = False
            if not intact:
                log.warning("record written anew", path=str(path))
                self._write(path, record)

    def linked(self, name: str) -> AttachmentKey | None:
        """The attachment whose host end has to bear this name."""
        return self._links.get(name)

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def put(self, record: Record) -> None:
        """Remember; an unchanged record writes nothing."""
        if self._records.get(record.attachment.key) == record:
            return
        path = self._path(record.attachment.key)
        self._write(path, record)
        self._keep(record)

    def remove(self, key: AttachmentKey) -> None:
        if self._records.pop(key, None):
            self._links.pop(ids.host_link(*key), None)
        self._path(key).unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, record: Record) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"version": _VERSION, **asdict(record)}, sort_keys=True))
        fresh.rename(path)

    def _keep(self, record: Record) -> None:
        key = record.attachment.key
        self._records[key] = record
        self._links[ids.host_link(*key)] = key

    def _path(self, key: AttachmentKey) -> Path:
        name = ".".join(key)
        if os.sep in name or name.startswith("."):
            raise ValueError(f"not an attachment's key: {key!r}")
        return self._directory / f"{name}{_SUFFIX}"


def decode(text: str) -> Record:
    fields = json.loads(text)
    if fields["version"] != _VERSION:
        raise ValueError(f"version {fields['version']!r}, this agent writes {_VERSION}")
    good = fields["good"]
    if good is not None and not all(isinstance(value, str) for value in good.values()):
        raise ValueError("annotations are not text")
    attachment = fields["attachment"]
    routes = tuple((str(to), str(via)) for to, via in attachment.pop("routes", ()))
    return Record(Attachment(**attachment, routes=routes), good)
