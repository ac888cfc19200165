"""One whole node for the floor: kubelet, containerd, OVN, and ovnlet as a DaemonSet on it."""

import os
from collections.abc import Iterator

import pytest

from testbed import deploy, rights
from testbed.bed import Bed
from testbed.workloads import Cluster


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    name = os.environ.get("OVNLET_E2E_BED", "floor-e2e")  # two checkouts at once need two
    with Bed.up(name) as bed:
        deploy.apply(bed)
        yield bed


@pytest.fixture(scope="session")
def rights_used(bed: Bed) -> Iterator[None]:
    """Whatever the floor did: nobody of ours asked the API server for more than is granted."""
    yield
    found = [rights.look(bed, account) for account in (rights.AGENT, rights.CONTROLLER)]
    rights.record("e2e floor", *found)
    assert not [each.excess for each in found if each.excess]


@pytest.fixture
def cluster(bed: Bed, rights_used: None) -> Iterator[Cluster]:
    """A namespace's worth of pods; all are gone, with what the node had of them, before the next test."""
    cluster = Cluster(bed)
    yield cluster
    cluster.clear()
