"""Records and small JSON files where the disk fails: memory holds, and the write is tried again."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ovnlet.core.errors import NodeFault
from ovnlet.core.identity import Attachment, Record
from ovnlet.drivers.store.json_file import JsonFile
from ovnlet.drivers.store.sandboxes import Sandboxes

pytestmark = pytest.mark.review2
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def record(container_id: str = "c1") -> Record:
    netns = f"/run/netns/{container_id}"
    return Record(Attachment(container_id, "eth0", netns, "default", "web", "u", "ovn", "boot", 1))


@pytest.fixture
def records(tmp_path: Path) -> Sandboxes:
    made = Sandboxes(tmp_path / "sandboxes", "boot")
    made.load()
    return made


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return what makes every write of a file fail as on a full disk, and work again."""
    write = Path.write_text

    def full(path: Path, text: str, *_: object, **__: object) -> int:
        write(path, text[:7])
        raise FULL

    def fill(is_full: bool) -> None:
        monkeypatch.setattr(Path, "write_text", full if is_full else write)

    return fill


def reloaded(tmp_path: Path) -> list[Record]:
    again = Sandboxes(tmp_path / "sandboxes", "boot")
    again.load()
    return list(again)


def test_records_are_restored_where_their_directory_is_gone(
    records: Sandboxes, tmp_path: Path
) -> None:
    """L5: the directory is made again, with every record in it."""
    for each in (record("c1"), record("c2")):
        records.put(each)
    shutil.rmtree(tmp_path / "sandboxes")
    records.restore()
    assert reloaded(tmp_path) == [record("c1"), record("c2")]
    assert (tmp_path / "sandboxes").stat().st_mode & 0o777 == 0o700


def test_a_record_is_put_where_the_directory_is_gone(records: Sandboxes, tmp_path: Path) -> None:
    """L5: an ADD after `rm -r` of the directory does not fail."""
    shutil.rmtree(tmp_path / "sandboxes")
    records.put(record())
    assert reloaded(tmp_path) == [record()]


def test_a_new_record_on_a_full_disk_is_refused_with_words_and_leaves_nothing(
    records: Sandboxes, tmp_path: Path, fill: Callable[[bool], None]
) -> None:
    """L5: the ADD fails, and nothing is kept of it, in memory or on disk."""
    fill(True)
    with pytest.raises(NodeFault, match="No space left on device"):
        records.put(record())
    assert not list(records)
    assert not list((tmp_path / "sandboxes").iterdir())
    fill(False)
    records.put(record())
    assert reloaded(tmp_path) == [record()]


def test_a_change_of_a_record_on_a_full_disk_holds_in_memory_and_is_written_later(
    records: Sandboxes, tmp_path: Path, fill: Callable[[bool], None]
) -> None:
    """L5: an edit takes effect; a restore fails quietly until there is room."""
    records.put(record())
    edited = replace(record(), good={"ovn.kubernetes.io/ip_address": "10.16.0.5"})
    fill(True)
    records.put(edited)
    records.restore()
    assert records.get(edited.attachment.key) == edited
    assert reloaded(tmp_path) == [record()], "what was there before is not torn"
    fill(False)
    records.restore()
    assert reloaded(tmp_path) == [edited]


def test_a_json_file_on_a_full_disk_holds_in_memory_and_is_written_later(
    tmp_path: Path, fill: Callable[[bool], None]
) -> None:
    """L5: writing what the node scope or the chassis scope remembers raises nothing."""
    file = JsonFile(tmp_path / "node.json")
    file.write({"a": "1"})
    fill(True)
    file.write({"a": "2"})
    file.restore()
    assert JsonFile(tmp_path / "node.json").read() == {"a": "1"}
    fill(False)
    file.restore()
    assert JsonFile(tmp_path / "node.json").read() == {"a": "2"}
    (tmp_path / "node.json").unlink()
    file.restore()
    assert JsonFile(tmp_path / "node.json").read() == {"a": "2"}


def test_records_are_loaded_where_the_directory_cannot_be_made(tmp_path: Path) -> None:
    """L5: the agent starts all the same; marks on the node rebuild what there was."""
    (tmp_path / "file").write_text("")
    made = Sandboxes(tmp_path / "file" / "sandboxes", "boot")
    made.load()
    assert not list(made)
