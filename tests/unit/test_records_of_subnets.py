"""The records' indices follow every change, and are used instead of a walk through all records."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kit.memory import COMPLETE, MemoryRecords, World
from ovnlet.core.identity import Attachment, Record
from ovnlet.drivers.store.sandboxes import Sandboxes

pytestmark = pytest.mark.review2
SWITCH = "ovn.kubernetes.io/logical_switch"


def _record(number: int, subnet: str | None) -> Record:
    attachment = Attachment(
        f"c{number}", "eth0", f"/run/netns/c{number}", "shop", f"p{number}", None, "ovn", "boot", 1
    )
    return Record(attachment, {**COMPLETE, SWITCH: subnet} if subnet else None)


def _keys(records: list[Record]) -> list[str]:
    return [record.attachment.container_id for record in records]


def test_records_of_a_subnet_l24(tmp_path: Path) -> None:
    """L24: found without a walk, and without those that moved, were removed or are not good yet."""
    records = Sandboxes(tmp_path / "sandboxes", "boot")
    records.load()
    for number, subnet in enumerate(["web", "db", "web", None]):
        records.put(_record(number, subnet))
    assert _keys(records.in_subnet("web")) == ["c0", "c2"]
    records.put(replace(_record(2, "db")))
    records.put(_record(3, "web"))
    records.remove(("c0", "eth0"))
    assert _keys(records.in_subnet("web")) == ["c3"]
    assert _keys(records.in_subnet("db")) == ["c1", "c2"]
    again = Sandboxes(tmp_path / "sandboxes", "boot")
    again.load()
    assert _keys(again.in_subnet("db")) == ["c1", "c2"]


async def test_an_edited_subnet_goes_through_no_other_records_l24() -> None:
    """L24: the first list of a thousand Subnets would read 500 records a thousand times."""

    class Indexed(MemoryRecords):
        def __iter__(self) -> Iterator[Record]:
            raise AssertionError("all records were gone through")

        def in_subnet(self, name: str) -> list[Record]:
            asked.append(name)
            return []

    asked: list[str] = []
    world = World()
    world.scope._records = Indexed()
    world.scope.subnet_changed("web")
    assert asked == ["web"]
