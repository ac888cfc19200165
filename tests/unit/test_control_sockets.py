"""The control socket of a daemon that restarts while it is looked for."""

import os
from pathlib import Path

import pytest

from ovnlet.core.errors import NotReady
from ovnlet.drivers.ovsdb import unixctl

pytestmark = pytest.mark.review2


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the first socket of the daemon between the listing and the look at its time."""
    look = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path.name == "ovn-controller.1.ctl":
            path.unlink(missing_ok=True)
        return look(path)

    monkeypatch.setattr(Path, "lstat", lstat)


@pytest.mark.usefixtures("vanishing")
def test_a_socket_that_vanishes_is_passed_over(tmp_path: Path) -> None:
    """L5: the race of ovn-controller's restart with the look for its socket."""
    for pid in (1, 2):
        (tmp_path / f"ovn-controller.{pid}.ctl").touch()
    found = unixctl.control_socket(tmp_path, "ovn-controller")
    assert found == tmp_path / "ovn-controller.2.ctl"


@pytest.mark.usefixtures("vanishing")
def test_without_another_socket_the_daemon_is_not_ready(tmp_path: Path) -> None:
    """L5: the last socket vanishes."""
    (tmp_path / "ovn-controller.1.ctl").touch()
    with pytest.raises(NotReady):
        unixctl.control_socket(tmp_path, "ovn-controller")


async def test_health_is_told_of_a_directory_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L5: out of descriptors, the daemons count as faulty and the part lives."""

    def glob(*_: object) -> list[Path]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "glob", glob)
    complaints = await unixctl.part_health(tmp_path, tmp_path)
    assert len(complaints) == 2
    assert all("Too many open files" in complaint for complaint in complaints)
