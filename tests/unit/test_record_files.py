"""Records as files: one name for each attachment, and names of before are still read."""

import json
import time
from pathlib import Path

import pytest

from ovnlet.core.identity import Attachment, Record
from ovnlet.drivers.store.sandboxes import Sandboxes

pytestmark = pytest.mark.review2


def attachment(container_id: str, ifname: str) -> Attachment:
    return Attachment(container_id, ifname, "/run/netns/x", "ns", "p", "u", "ovn", "boot", 1)


def test_l21_two_attachments_never_share_a_file(tmp_path: Path) -> None:
    """L21: container `a.b` with interface `c`, and `a` with `b.c`, had one file."""
    records = Sandboxes(tmp_path, "boot")
    keys = [("a.b", "c"), ("a", "b.c"), ("a%2Eb", "c"), ("a", "b%2Ec"), ("a", "b"), ("a", "-")]
    for key in keys:
        records.put(Record(attachment(*key)))
    assert len(list(tmp_path.iterdir())) == len(keys)
    again = Sandboxes(tmp_path, "boot")
    again.load()
    assert {record.attachment.key for record in again} == set(keys)
    for key in keys:
        again.remove(key)
    assert not list(tmp_path.iterdir())


def test_l21_usual_names_stay(tmp_path: Path) -> None:
    """L21: an agent of another release finds the files of usual containers where they were."""
    Sandboxes(tmp_path, "boot").put(Record(attachment("c0ffee", "eth0")))
    assert [path.name for path in tmp_path.iterdir()] == ["c0ffee.eth0.json"]


def test_l21_a_name_of_before_is_read_and_replaced(tmp_path: Path) -> None:
    """L21: a record that an earlier agent wrote is kept, and removed with its attachment."""
    records = Sandboxes(tmp_path, "boot")
    records.put(Record(attachment("a.b", "c")))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "a.b.c.json")
    again = Sandboxes(tmp_path, "boot")
    again.load()
    assert [record.attachment.key for record in again] == [("a.b", "c")]
    assert (tmp_path / "a.b.c.json").exists() is False
    again.remove(("a.b", "c"))
    assert not list(tmp_path.iterdir())


def test_l13_the_order_of_adds_outlives_the_records(tmp_path: Path) -> None:
    """L13: with all records lost, the count began anew, and an old sandbox outranked a new one."""
    first = Sandboxes(tmp_path / "one", "boot")
    numbers = [first.next_sequence() for _ in range(100)]
    assert numbers == sorted(set(numbers))
    time.sleep(0.2)
    assert Sandboxes(tmp_path / "two", "boot").next_sequence() > numbers[-1]
    later = Sandboxes(tmp_path / "three", "boot")
    (tmp_path / "three").mkdir()
    ahead = {"version": 1, "good": None, "attachment": _fields(10**15)}
    (tmp_path / "three" / "a.eth0.json").write_text(json.dumps(ahead))
    assert later.is_of_earlier_boot(10**15)
    later.load()
    assert not later.is_of_earlier_boot(10**15)
    assert later.next_sequence() == 10**15 + 1
    assert not first.is_of_earlier_boot(numbers[-1] + 1000)


def _fields(sequence: int) -> dict[str, object]:
    names = {"container_id": "a", "ifname": "eth0", "netns": "/x", "namespace": "n", "pod": "p"}
    return {**names, "uid": "u", "provider": "ovn", "boot_id": "boot", "sequence": sequence}
