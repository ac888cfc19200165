"""What a command does not use it does not import: a start is mostly imports."""

import subprocess
import sys

import pytest

# Of a whole second of imports these are most.
HEAVY = ("kopf", "aiohttp", "rich", "prometheus_client", "structlog")
LOOK = f"""
import sys
from ovnlet.__main__ import main
try:
    main(sys.argv[1:])
finally:
    print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", ["agent --help", "controller --help", "doctor --help", "uninstall --help"]
)
def test_help_costs_no_heavy_import(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *words.split()], capture_output=True, text=True, check=True
    )
    assert "Usage:" in done.stdout
    assert done.stderr.split() == []


def test_the_look_can_see_an_import() -> None:
    words = [
        sys.executable,
        "-c",
        LOOK.replace("import sys\n", "import sys, aiohttp\n", 1),
        "agent",
        "--help",
    ]
    assert (
        "aiohttp"
        in subprocess.run(words, capture_output=True, text=True, check=True).stderr.split()
    )
