"""One whole node for the floor: kubelet, containerd, OVN, ovnlet as a DaemonSet on it, and its controller."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed import deploy, layout, rights
from testbed.bed import Bed
from testbed.workloads import Cluster, subnet

COOL_DOWN = 5  # seconds: the tests wait for addresses that are given up
NAME = os.environ.get("OVNLET_E2E_BED", "floor-e2e")  # two checkouts at once need two


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    with _standing_alone(NAME, nodes=1) as bed:
        yield bed


@pytest.fixture(scope="session")
def pair() -> Iterator[Cluster]:
    """Two nodes of another bed."""
    with _standing_alone(f"{NAME}-two", nodes=2) as bed:
        yield Cluster(bed)


@contextmanager
def _standing_alone(name: str, nodes: int) -> Iterator[Bed]:
    with Bed.up(name, nodes=nodes, parts=layout.STANDALONE) as bed:
        deploy.apply(bed, OVNLET_COOL_DOWN=str(COOL_DOWN))
        Cluster(bed).make_subnet(subnet("ovn-default", layout.PODS, default=True))
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
