"""Installation of packages restores the machine's policy for services, however the run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import packages

OWN = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages, "SAVED", tmp_path / "saved")
    return tmp_path / "policy-rc.d"


@pytest.mark.parametrize("own", [OWN, None])
def test_services_are_denied_for_the_installation_only(policy: Path, own: str | None) -> None:
    if own:
        policy.write_text(own)
        policy.chmod(0o755)

    def install() -> None:
        with packages._policy_denies():
            assert policy.read_text() == packages.DENY
            assert policy.stat().st_mode & 0o777 == 0o755
            raise SystemExit("the installation failed")

    with pytest.raises(SystemExit, match="the installation failed"):
        install()
    assert (policy.read_text() if policy.exists() else None) == own
    assert not packages.SAVED.exists()


@pytest.mark.parametrize("own", [OWN, None])
def test_a_killed_run_is_repaired_by_the_next(
    policy: Path, own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "missing", lambda _: [])
    policy.write_text(packages.DENY)
    if own:
        packages.SAVED.write_text(own)
    assert packages.ensure() == []
    assert (policy.read_text() if policy.exists() else None) == own
    assert not packages.SAVED.exists()


def test_dpkg_is_asked_what_is_missing() -> None:
    assert packages.missing(["base-files", "no-such-package-as-this"]) == [
        "no-such-package-as-this"
    ]
