"""The tests that need root: they use kernel namespaces of their own, never the machine's."""

import os
import secrets
from collections.abc import Iterator

import pytest

from integration.node.spaces import Bed, Listener, Space


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("this floor needs root: it uses real kernel namespaces")


@pytest.fixture
def bed(_root: None) -> Iterator[Bed]:
    """Yield a namespace for a node and one for a pod, with the test's thread in the node's."""
    stem = f"ovnlet-{secrets.token_hex(4)}"
    node, pod = Space(f"{stem}-node"), Space(f"{stem}-pod")
    spaces = [node, pod]
    try:
        for space in spaces:
            space.add()
        with node.inside():
            yield Bed(node, pod, spaces)
    finally:
        for space in spaces:
            space.delete()


@pytest.fixture
def listeners(bed: Bed) -> Iterator[tuple[Listener, Listener]]:
    """Yield a listener on the node's namespace and one on the pod's."""
    both = Listener(bed.node), Listener(bed.pod)
    yield both
    for listener in both:
        listener.close()
