"""The metrics' names follow Prometheus' conventions, by promtool's own check."""

import subprocess

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from ovnlet.agent.metrics import Metrics
from ovnlet.controller.http import HttpEndpoints


def checked(text: bytes) -> tuple[int, str]:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode().strip()


@pytest.mark.parametrize(
    "registry",
    [Metrics(lambda: []).registry, HttpEndpoints("127.0.0.1:0").registry],
    ids=["agent", "controller"],
)
def test_promtool_has_nothing_to_say_about_our_names(registry: CollectorRegistry) -> None:
    assert checked(generate_latest(registry)) == (0, "")


def test_promtool_does_say_something_about_a_wrong_name() -> None:
    registry = CollectorRegistry()
    Counter("ovnlet_wait_milliseconds", "x", registry=registry)
    code, said = checked(generate_latest(registry))
    assert (code, "base unit" in said) == (3, True), said
