"""The records of attachments: one small file each, on a tmpfs that a reboot clears.

A record is written once, before the first step of an ADD, and removed after the last of a DEL. A
truncated or foreign file is logged and skipped: the mark in OVSDB and the alias in the pod rebuild
it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import structlog

from ovnlet.core import annotations
from ovnlet.core.errors import NodeFault
from ovnlet.core.identity import Attachment, AttachmentKey, Record
from ovnlet.drivers.store import atomic

log = structlog.get_logger("sandboxes")
_VERSION = 1
_SUFFIX = ".json"
# Milliseconds by which ADDs in quick succession may run ahead of the clock since boot.
_AHEAD = 60_000
Owner = tuple[str, str]


class Sandboxes:
    """The records of this boot, in memory and under ``directory``. Writes return once in place.

    Indexed by container ID and interface, by the pod, by `iface-id` and by Subnet, so that no
    look-up goes through all records.
    """

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory, self._boot_id = directory, boot_id
        self._records: dict[AttachmentKey, Record] = {}
        self._by_owner: dict[Owner, dict[AttachmentKey, None]] = {}
        self._by_iface_id: dict[str, dict[AttachmentKey, None]] = {}
        self._by_subnet: dict[str, dict[AttachmentKey, None]] = {}
        self._prefixes: dict[int, int] = {}
        self._claims: set[AttachmentKey] = set()
        self._sequence = 0
        self._changed: Callable[[str], None] = lambda _: None

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call ``changed`` with the Subnet of each record that comes, changes or goes."""
        self._changed = changed

    def load(self) -> None:
        """Read all records. Remove those of an earlier boot, whose namespaces are gone.

        A directory that cannot be read counts as empty: marks on the node rebuild its records.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = sorted(path for path in self._directory.iterdir() if path.suffix == _SUFFIX)
        except OSError as error:
            log.warning("records cannot be read", path=str(self._directory), error=str(error))
            paths = []
        for path in paths:
            try:
                record = decode(path.read_text())
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("record skipped: not readable", path=str(path), error=str(error))
                continue
            if record.attachment.boot_id != self._boot_id:
                path.unlink(missing_ok=True)
                continue
            self._keep(record)
            if path != (named := self._path(record.attachment.key)):
                with suppress(OSError):  # it is tried again at the next start
                    path.rename(named)  # from a release that did not escape dots
            self._sequence = max(self._sequence, record.attachment.sequence)

    def __iter__(self) -> Iterator[Record]:
        """Yield every record."""
        return iter(tuple(self._records.values()))

    def get(self, key: AttachmentKey) -> Record | None:
        """Return the record of this key, also one adopted with only a part of the container ID."""
        if record := self._records.get(key):
            return record
        container_id, ifname = key
        prefixes = (
            container_id[:length] for length in self._prefixes if length < len(container_id)
        )
        found = (self._records.get((prefix, ifname)) for prefix in prefixes)
        return next((record for record in found if record), None)

    def of(self, owner: Owner) -> list[Record]:
        """Return the records of a pod, by namespace and name."""
        return [self._records[key] for key in self._by_owner.get(owner, ())]

    def claiming(self, iface_id: str) -> list[Record]:
        """Return the records of the attachments that have this `iface-id`."""
        return [self._records[key] for key in self._by_iface_id.get(iface_id, ())]

    def in_subnet(self, name: str) -> list[Record]:
        """Return the records whose last good annotations name this Subnet."""
        return [self._records[key] for key in self._by_subnet.get(name, ())]

    def restore(self) -> None:
        """Write each record again whose file is missing or differs: memory prevails."""
        for record in self:
            if record.attachment.key in self._claims:
                continue
            path = self._path(record.attachment.key)
            try:
                intact = decode(path.read_text()) == record
            except (OSError, ValueError, TypeError, KeyError):
                intact = False
            if not intact:
                log.warning("record written again", path=str(path))
                self._write_or_log(path, record)

    def next_sequence(self) -> int:
        """Return the number of the next ADD received.

        At least the milliseconds since boot, so that none is used twice if all records are lost.
        """
        self._sequence = max(self._sequence + 1, _uptime())
        return self._sequence

    def is_of_earlier_boot(self, sequence: int) -> bool:
        """Return whether a sequence is too far ahead of the clock to be of this boot."""
        return sequence > max(self._sequence, _uptime()) + _AHEAD

    @property
    def boot_id(self) -> str:
        """The kernel's boot ID. Sandboxes of another one are gone."""
        return self._boot_id

    def claim(self, record: Record) -> None:
        """Keep a record in memory alone: nothing is on the node for it yet. ``put`` writes it."""
        self._claims.add(record.attachment.key)
        self._keep(record)

    def put(self, record: Record) -> None:
        """Keep a record, in memory and on disk; write nothing if it is unchanged.

        Raise NodeFault if a new one cannot be written: nothing may be made on the node without it.
        A change of a known one stays in memory then, and ``restore`` writes it.
        """
        key = record.attachment.key
        before, path = self._records.get(key), self._path(key)
        is_new = before is None or key in self._claims
        if before == record and not is_new:
            return
        if not is_new:
            self._write_or_log(path, record)
        else:
            try:
                self._write(path, record)
            except OSError as error:
                reason = error.strerror or error
                raise NodeFault(f"the record {path} cannot be written: {reason}") from error
        self._claims.discard(key)
        self._keep(record)
        if before is None or before.good != record.good:
            self._changed(_subnet(record))

    def remove(self, key: AttachmentKey) -> None:
        """Remove a record, on disk and in memory. Raise OSError and keep both if the file stays."""
        self._path(key).unlink(missing_ok=True)
        self._claims.discard(key)
        if record := self._records.pop(key, None):
            self._drop(record)
            self._changed(_subnet(record))

    @staticmethod
    def _write(path: Path, record: Record) -> None:
        fields = asdict(record)
        if not record.attachment.mtu:  # releases that do not know it refuse the whole record
            del fields["attachment"]["mtu"]
        atomic.write(path, json.dumps({"version": _VERSION, **fields}, sort_keys=True))

    def _write_or_log(self, path: Path, record: Record) -> None:
        try:
            self._write(path, record)
        except OSError as error:
            log.warning("record cannot be written yet", path=str(path), error=str(error))

    def _keep(self, record: Record) -> None:
        key, attachment = record.attachment.key, record.attachment
        if (before := self._records.get(key)) is not None:
            self._drop(before)
        self._records[key] = record
        self._by_owner.setdefault(attachment.owner, {})[key] = None
        self._by_iface_id.setdefault(attachment.iface_id, {})[key] = None
        self._by_subnet.setdefault(_subnet(record), {})[key] = None
        length = len(attachment.container_id)
        self._prefixes[length] = self._prefixes.get(length, 0) + 1

    def _drop(self, record: Record) -> None:
        attachment = record.attachment
        for index, value in (
            (self._by_owner, attachment.owner),
            (self._by_iface_id, attachment.iface_id),
            (self._by_subnet, _subnet(record)),
        ):
            keys = index[value]  # type: ignore[index]  # each with its own kind of value
            del keys[attachment.key]
            if not keys:
                del index[value]  # type: ignore[arg-type]
        length = len(attachment.container_id)
        self._prefixes[length] -= 1
        if not self._prefixes[length]:
            del self._prefixes[length]

    def _path(self, key: AttachmentKey) -> Path:
        """Return the file of a record, a different one for each key.

        Raise ValueError where the key would leave the directory.
        """
        container_id, ifname = key
        if not container_id or os.sep in container_id + ifname or container_id.startswith("."):
            raise ValueError(f"not an attachment's key: {key!r}")
        return self._directory / f"{_escaped(container_id)}.{_escaped(ifname)}{_SUFFIX}"


def _escaped(part: str) -> str:
    """Return a part of a file's name without dots, of which one separates the parts."""
    return part.replace("%", "%25").replace(".", "%2E")


def _uptime() -> int:
    """Return the milliseconds since boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e3)


def _subnet(record: Record) -> str:
    """Return the Subnet's name, empty where no annotations were good yet."""
    return annotations.switch(record.good or {}, record.attachment.provider)


def decode(text: str) -> Record:
    """Return the record in a file's text. Raise ValueError, TypeError or KeyError."""
    fields = json.loads(text)
    if fields["version"] != _VERSION:
        raise ValueError(f"version {fields['version']!r}, this agent writes {_VERSION}")
    good = fields["good"]
    if good is not None and not all(isinstance(value, str) for value in good.values()):
        raise ValueError("annotations are not text")
    attachment = fields["attachment"]
    routes = tuple((str(to), str(via)) for to, via in attachment.pop("routes", ()))
    return Record(Attachment(**attachment, routes=routes), good)
