"""What docs/how-to/add-a-resource-kind.md asks of a new kind is there of every kind."""

import re
from pathlib import Path

import pytest

from ovnlet.core.resources import ORDER

ROOT = Path(__file__).parents[2]
# Of the node, and the fake is of pods: tests/integration/node has them on a real one.
UNFAKED = {"Nic", "ChassisId", "Bridge", "Flows", "CniFile", "CniSocket"}
UNFAKED |= {
    "NftTable",
    "NftCounter",
    "NftSet",
    "NftChain",
    "Accepts",
    "PolicyRoute",
    "PolicyRule",
    "KubeOvnChains",
    "UplinkBridge",
    "LinkUp",
    "LinkEntry",
    "UplinkPort",
    "NetworkMapping",
    "KubeOvnRules",
    "KubeOvnSets",
}


def _named_in(kind: str, pattern: str) -> bool:
    return any(re.search(rf"\b{kind}\b", path.read_text()) for path in ROOT.glob(pattern))


@pytest.mark.parametrize("kind", ORDER, ids=lambda kind: kind.__name__)
def test_a_kind_has_a_driver_a_fake_and_a_story(kind: type) -> None:
    name = kind.__name__
    assert kind.__doc__
    assert _named_in(name, "operator/ovnlet/drivers/**/*.py")
    assert _named_in(name, "tests/unit/golden/*.yaml")
    assert name in UNFAKED or _named_in(name, "tests/kit/strict_*.py")
