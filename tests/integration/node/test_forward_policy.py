"""A chain that drops what the node forwards is named, on a real kernel: E16."""

import subprocess
from collections.abc import Iterator

import pytest

from integration.node.spaces import Bed
from ovnlet.core.settings import Settings
from ovnlet.doctor import interference
from ovnlet.drivers.links import forward

pytestmark = pytest.mark.review2
POLICY = "{{ type filter hook {hook} priority filter ; policy {policy} ; }}"


def nft(words: str) -> None:
    subprocess.run(["nft", *words.split()], check=True, timeout=20)


def chain(family: str, hook: str, policy: str) -> None:
    nft(f"add table {family} filter")
    nft(f"add chain {family} filter FORWARD {POLICY.format(hook=hook, policy=policy)}")


@pytest.fixture(autouse=True)
def _in_the_bed(bed: Bed) -> Iterator[None]:
    """Run in the bed's own network namespace, without rules."""
    nft("flush ruleset")
    yield
    nft("flush ruleset")


@pytest.mark.parametrize("family", ["ip", "ip6", "inet"])
def test_a_policy_that_drops_is_named_e16(family: str) -> None:
    assert forward.dropping() == []
    chain(family, "forward", "drop")
    assert forward.dropping() == [f"{family} filter FORWARD"]
    settings = Settings.of({"node_name": "n0", "run_dir": "/nonexistent"})
    (found,) = [f for f in interference.examine(settings) if "FORWARD" in f.what]
    assert "ovn0" in found.fix


@pytest.mark.parametrize(("hook", "policy"), [("forward", "accept"), ("input", "drop")])
def test_other_chains_are_not_e16(hook: str, policy: str) -> None:
    chain("ip", hook, policy)
    assert forward.dropping() == []
