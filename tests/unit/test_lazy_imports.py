"""A command imports only what it uses, as its start is mostly imports."""

import subprocess
import sys

import pytest

# Most of a whole second of imports.
HEAVY = ("kopf", "aiohttp", "rich", "prometheus_client", "structlog")
CHECK = f"""
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
        [sys.executable, "-c", CHECK, *words.split()], capture_output=True, text=True, check=True
    )
    assert "Usage:" in done.stdout
    assert done.stderr.split() == []


def test_the_check_finds_an_import() -> None:
    words = [
        sys.executable,
        "-c",
        CHECK.replace("import sys\n", "import sys, aiohttp\n", 1),
        "agent",
        "--help",
    ]
    assert (
        "aiohttp"
        in subprocess.run(words, capture_output=True, text=True, check=True).stderr.split()
    )


# Imported by libraries that could do without: for terminals, settings, and other clients' objects.
ABSENT = ("pydantic", "rich.traceback", "pygments", "kubernetes", "requests", "jsonschema")


@pytest.mark.parametrize("module", ["agent.wiring", "controller.replica"])
def test_a_program_that_stays_imports_nothing_for_terminals(module: str) -> None:
    """Libraries that only check settings or draw tables would stay in the node's memory."""
    code = f"""
import sys
from ovnlet import __main__, optional
with optional.left_out(*__main__.FOR_TERMINALS):
    import ovnlet.{module}
from ovnlet.kube import kopf_runner
with optional.left_out(*kopf_runner.CLIENTS):
    import kopf
import rich.console  # what runs later may still use it
print(*[name for name in {ABSENT!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
