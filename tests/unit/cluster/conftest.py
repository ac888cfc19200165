"""`kubectl ovnlet` in this process, against a server with the recorded objects and answers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kit.api_server import ApiServer, write_kubeconfig
from ovnlet.cluster.commands import cluster

Ask = Callable[..., Result]


@pytest.fixture
def world() -> Iterator[ApiServer]:
    """Yield a server; its objects and answers may be changed at any time."""
    with ApiServer.recorded() as server:
        yield server


@pytest.fixture
def ask(world: ApiServer, tmp_path: Path) -> Ask:
    """Return a function that runs a command by its words."""
    config = write_kubeconfig(tmp_path / "kubeconfig", world.url)

    def run(verb: str, *words: str) -> Result:
        # The client reads $KUBECONFIG once, when it is imported.
        line = [verb, "--kubeconfig", str(config), *words]
        env = {"OVNLET_OVN_TRACE": ""}
        return CliRunner().invoke(cluster, line, env=env, prog_name="kubectl ovnlet")

    return run
