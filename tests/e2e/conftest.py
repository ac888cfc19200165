"""One whole node for the floor: kubelet, containerd, OVN, and ovnlet as a DaemonSet on it."""

import os
from collections.abc import Iterator

import pytest

from testbed import deploy
from testbed.bed import Bed
from testbed.workloads import Cluster


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    name = os.environ.get("OVNLET_E2E_BED", "floor-e2e")  # two checkouts at once need two
    with Bed.up(name) as bed:
        deploy.apply(bed)
        yield bed


@pytest.fixture
def cluster(bed: Bed) -> Iterator[Cluster]:
    """A namespace's worth of pods; all are gone, with what the node had of them, before the next test."""
    cluster = Cluster(bed)
    yield cluster
    cluster.clear()
