"""What the cache of parsed annotations costs: hostile annotations cannot raise it."""

import gc
import json
import tracemalloc
from collections.abc import Iterator

import pytest

from kit.memory import COMPLETE
from ovnlet.core import annotations
from ovnlet.core.allocation import Allocation
from ovnlet.core.ipam import claims

pytestmark = pytest.mark.review2
OVN = "ovn.kubernetes.io"
MOST = 16 << 20  # bytes


def varied(number: int) -> Iterator[dict[str, str]]:
    """Yield annotations of the greatest length that is cached, all different."""
    for n in range(number):
        routes = [
            {"dst": f"10.{n >> 8}.{n & 255}.{host}/32", "gw": "10.16.0.9"} for host in range(150)
        ]
        yield {**COMPLETE, f"{OVN}/routes": json.dumps(routes)}


@pytest.mark.uncovered
def test_l20_varied_annotations_do_not_fill_the_memory() -> None:
    """L20: the cache held 1024 entries of any length: +123 MiB, 36 MiB with these 300."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for text in varied(300):
            annotations.parse(text, "ovn", "eth0")
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MOST


def test_l20_a_large_nodes_usual_pods_are_all_cached() -> None:
    """L20: 500 pods as Kube-OVN's controller annotates them stay in the cache together."""
    texts = [
        {**COMPLETE, f"{OVN}/ip_address": f"10.16.{n >> 8}.{n & 255 or 1}"} for n in range(2, 502)
    ]
    first = [_parsed(text) for text in texts]
    assert all(found is again for found, again in zip(first, map(_parsed, texts), strict=True))


def test_long_annotations_do_not_fill_the_controllers_memory() -> None:
    """The cache of bindings had 16,384 entries of any length: 51 MiB with these 200."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(200):
            assert claims.bound(f"{number} " + "x" * 2**18) is None
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MOST


def _parsed(text: dict[str, str]) -> Allocation:
    return annotations.parse(text, "ovn", "eth0")
