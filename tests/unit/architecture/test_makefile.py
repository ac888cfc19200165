"""Each target of the Makefile has one recipe: make takes the last of two, with a mere warning."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_no_target_is_there_twice() -> None:
    texts = [(ROOT / name).read_text() for name in ("Makefile", "tests/testbed/bed.mk")]
    heads = re.findall(r"^([a-z0-9-][a-z0-9 -]*):(?!=)", "\n".join(texts), flags=re.MULTILINE)
    targets = Counter(name for head in heads for name in head.split())
    assert targets["drift"] == 1
    assert [name for name, times in targets.items() if times > 1] == []
