"""The floor that needs root: real kernel namespaces, never the machine's own."""

import os
import secrets
from collections.abc import Iterator

import pytest

from integration.node.spaces import Bed, Listener, Space


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("this floor needs root: it works on real kernel namespaces")


@pytest.fixture
def bed(_root: None) -> Iterator[Bed]:
    """A node's and a pod's namespace; the test's thread is inside the node's."""
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
    """On the node's and on the pod's namespace."""
    both = Listener(bed.node), Listener(bed.pod)
    yield both
    for listener in both:
        listener.close()
