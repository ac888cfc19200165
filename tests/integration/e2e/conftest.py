"""One whole node for the floor: kubelet, containerd, OVN, ovnlet's DaemonSet and its controller."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from integration.e2e.service_web import Web, running
from testbed import deploy, layout, rights
from testbed.bed import Bed
from testbed.workloads import Cluster, subnet

COOL_DOWN = 5  # seconds: tests wait until a released address can be assigned again
NAME = os.environ.get("OVNLET_E2E_BED", "floor-e2e")  # two checkouts at once need two names


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """Give the bed of one node."""
    with _standalone(NAME, nodes=1) as bed:
        yield bed


@pytest.fixture(scope="session")
def pair() -> Iterator[Cluster]:
    """Give a bed of two nodes."""
    with _standalone(f"{NAME}-two", nodes=2) as bed:
        yield Cluster(bed)


@contextmanager
def _standalone(name: str, nodes: int) -> Iterator[Bed]:
    with Bed.up(name, nodes=nodes, parts=layout.STANDALONE) as bed:
        deploy.apply(bed, OVNLET_COOL_DOWN=str(COOL_DOWN))
        Cluster(bed).make_subnet(subnet("ovn-default", layout.PODS, default=True))
        yield bed


@pytest.fixture(scope="session")
def rights_used(bed: Bed) -> Iterator[None]:
    """Check at the end that neither account asked the API server for more than it is granted."""
    yield
    found = [rights.look(bed, account) for account in (rights.AGENT, rights.CONTROLLER)]
    rights.record("e2e floor", *found)
    assert not [each.excess for each in found if each.excess]


@pytest.fixture
def cluster(bed: Bed, rights_used: None) -> Iterator[Cluster]:
    """Give a cluster without pods; afterwards delete its pods and wait until the node has none."""
    cluster = Cluster(bed)
    yield cluster
    cluster.clear()


@pytest.fixture
def two(pair: Cluster) -> Iterator[Cluster]:
    """Give the cluster of two nodes; afterwards delete what the test made."""
    cluster = Cluster(pair.bed)
    yield cluster
    cluster.clear()


@pytest.fixture(scope="module")
def web(pair: Cluster) -> Iterator[Web]:
    """Give a client, servers and Services on two nodes."""
    with running(Cluster(pair.bed)) as web:
        yield web
