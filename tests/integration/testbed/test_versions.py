"""The bed starts each Kubernetes from 1.20 to 1.36: no flag that a version refuses (K11)."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testbed import kubernetes, runtime, versions
from testbed.controlplane import ControlPlane
from testbed.identities import Identities

pytestmark = pytest.mark.review2

# By the release notes of Kubernetes: the first minor version that refuses a flag or a gate …
REFUSED = {
    "IPv6DualStack": 25,
    "--port=": 24,
    "--container-runtime=": 27,
    "--pod-infra-container-image=": 35,
}
# … and the last one that needs it.
NEEDED = {
    "IPv6DualStack": 20,
    "--port=": 22,
    "--container-runtime=": 23,
    "--pod-infra-container-image=": 26,
}
# The keys of kubelet's configuration, by the first version that knows each.
KEYS = {"containerRuntimeEndpoint": 27, "failCgroupV1": 31}
EVERY = range(versions.OLDEST, versions.NEWEST + 1)


@dataclass(slots=True)
class Started:
    """A space that records what it is asked to start."""

    directory: Path
    role: str = "n0"
    words: dict[str, str] = field(default_factory=dict)

    def spawn(self, role: str, words: list[Any], env: dict[str, str] | None = None) -> None:
        self.words[role] = " ".join(map(str, words))

    def sh(self, script: str) -> str:
        return script

    def log(self, name: str) -> Path:
        return self.directory / name


def programs(directory: Path, says: str) -> Path:
    """Make programs of Kubernetes that only know their version, and refuse everything else."""
    directory.mkdir()
    for name in kubernetes.PROGRAMS:
        script = f'#!/bin/sh\n[ "$*" = --version ] && echo "{says}"\n'
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)
    return directory


def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> Started:
    """Return what the bed would start of a Kubernetes that says this of itself."""
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(programs(tmp_path / "assets", says)))
    space: Any = Started(tmp_path)
    identities = Identities(tmp_path / "ids")
    identities.create(["n0"])
    plane = ControlPlane(space, identities, "127.0.0.1", 6443, 2379)
    plane.start_apiserver(service_accounts=True)
    plane.start_manager()
    plane.start_scheduler()
    runtime.start_kubelet(space, plane, "192.0.2.1")
    runtime.start_proxy(space, plane)
    found: Started = space
    return found


@pytest.mark.parametrize("minor", EVERY)
def test_k11_no_version_gets_a_flag_that_it_refuses_or_lacks_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minor: int
) -> None:
    space = started(tmp_path, monkeypatch, f"Kubernetes v1.{minor}.3")
    config = json.loads((tmp_path / "kubelet.json").read_text())
    assert set(space.words) == set(kubernetes.PROGRAMS)
    whole = " ".join(space.words.values()) + json.dumps(config)
    for flag, since in REFUSED.items():
        if minor >= since:
            assert flag not in whole
    for flag, last in NEEDED.items():
        if minor <= last:
            assert flag in whole
    assert {key for key in KEYS if key in config} == {
        key for key, since in KEYS.items() if minor >= since
    }
    assert (runtime.ENDPOINT in space.words["kubelet"]) is (minor < 27)


@pytest.mark.parametrize(
    "says", ["Kubernetes v1.19.0", "Kubernetes v1.37.0-alpha.1", "v0.0.0-master+$Format:%H$", ""]
)
def test_k11_a_version_that_is_not_known_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    with pytest.raises(versions.UnknownVersion, match=r"the bed starts 1\.20 to 1\.36"):
        started(tmp_path, monkeypatch, says)


@pytest.mark.parametrize(
    ("says", "minor"), [("Kubernetes v1.34.3", 34), ("Kubernetes v1.29.0-rc.1", 29)]
)
def test_k11_the_version_is_read(tmp_path: Path, says: str, minor: int) -> None:
    assert versions.minor(programs(tmp_path / "assets", says) / "kubelet") == minor


def test_k11_what_the_bed_runs_on_is_named() -> None:
    named = versions.software()
    print(*named, sep="\n")
    for part in ("Kubernetes v1.", "etcd", "containerd", "runc", "ovs-vswitchd", "ovn-controller"):
        (line,) = [each for each in named if each.startswith(part)]
        assert any(letter.isdigit() for letter in line), line
