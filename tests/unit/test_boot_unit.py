"""The drop-in by which a reboot finds moved interfaces outside of their bridges."""

from pathlib import Path

import pytest

import kit.units
from kit.units import Unit
from ovnlet.core.errors import NodeFault
from ovnlet.core.settings import Settings
from ovnlet.doctor import reboot
from ovnlet.drivers.ovs.boot_unit import NAME, BootUnit

UNIT = """\
# A comment, whose backslash joins nothing: \\
[Unit]
ExecStart=/bin/of-another-section
[Service]
Environment=HOME=/var/run "WORDS=a b"
EnvironmentFile=-{file}
ExecStart=/bin/ctl \\
          --one \\
          start $OPTIONS $NOTHING
"""


def test_it_is_written_once_and_again_after_somebody_changed_it(tmp_path: Path) -> None:
    unit, path = BootUnit(str(tmp_path)), tmp_path / NAME
    assert unit.write()
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert not unit.write()
    for change in ("", f"{text}ExecStartPre=/bin/false\n"):
        path.write_text(change)
        assert unit.write()
        assert path.read_text() == text


def test_it_goes_with_its_directory_and_what_others_have_there_stays(tmp_path: Path) -> None:
    unit, path = BootUnit(str(tmp_path)), tmp_path / NAME
    unit.write()
    assert unit.remove()
    assert not path.parent.exists()
    assert not unit.remove()
    unit.write()
    (path.parent / "other.conf").write_text("[Service]\n")
    assert unit.remove()
    assert [each.name for each in path.parent.iterdir()] == ["other.conf"]


def test_without_a_directory_nothing_is_written() -> None:
    assert not BootUnit(None).write()
    assert not BootUnit(None).remove()


def test_a_file_that_cannot_be_written_is_told_with_what_it_means(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeFault, match="a reboot may cut this node off"):
        BootUnit(str(tmp_path / "file")).write()


def test_the_doctor_tells_what_a_reboot_does(tmp_path: Path) -> None:
    def told(**settings: str) -> list[str]:
        return [each.level for each in reboot.examine(Settings(node_name="n1", **settings))]  # type: ignore[arg-type]

    moves = {"underlay": "manage", "systemd_dir": str(tmp_path)}
    assert told(systemd_dir=str(tmp_path)) == []
    assert told(underlay="manage") == ["note"]
    assert told(**moves) == ["fault"]
    BootUnit(str(tmp_path)).write()
    assert told(**moves) == ["ok"]
    (tmp_path / NAME).write_text("[Service]\n")
    assert told(**moves) == ["fault"]


def test_a_unit_is_composed_as_systemd_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts what the package has, after what the drop-in adds; a dollar sign is doubled."""
    monkeypatch.setattr(kit.units, "PACKAGED", tmp_path / "lib")
    (tmp_path / "lib").mkdir()
    (tmp_path / "options").write_text("# none yet\n\nOPTIONS='--a --b'\n")
    text = UNIT.format(file=tmp_path / "options")
    (tmp_path / "lib" / "ovs-vswitchd.service").write_text(text)
    BootUnit(str(tmp_path / "etc")).write()
    unit = Unit.read("ovs-vswitchd.service", tmp_path / "etc")
    assert unit.env == {"HOME": "/var/run", "WORDS": "a b", "OPTIONS": "--a --b"}
    before, start = unit.starts()
    assert (start.words, start.may_fail) == (["/bin/ctl", "--one", "start", "--a", "--b"], False)
    assert (before.words[:2], before.may_fail) == (["/bin/sh", "-c"], True)
    script = before.words[2]
    assert "$$" not in script
    assert "for port in $($vsctl list-ports $bridge); do" in script
