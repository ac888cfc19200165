"""Each example in the help of `kubectl ovnlet` runs as it is typed, on recorded answers.

`make tools-e2e` types them on two nodes.
"""

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from docs import reference
from kit.api_server import Answer, ApiServer, write_kubeconfig
from ovnlet.cli.options import Command
from ovnlet.cluster.commands import cluster

# kubectl runs its plugin so.
KUBECTL = f"""#!/bin/sh
test "$1" = ovnlet && shift
exec {sys.executable} -c 'from ovnlet.cluster.commands import kubectl; kubectl()' "$@"
"""
STATUS = "k8s.v1.cni.cncf.io/network-status"
# Nothing differs, nothing is wrong, and nothing has happened.
SILENT = ("plan", "doctor", "events")
EXAMPLES = [
    call
    for name, command in reference.commands()
    if name.startswith("cluster ") and isinstance(command, Command)
    for call in command.examples
]


@pytest.fixture
def world() -> Iterator[ApiServer]:
    """Yield a cluster with the pods of the examples, whose agents answer what these ask."""
    with ApiServer.recorded() as server:
        for own, name in (("sender", "web-0"), ("target", "web-1")):
            pod = server.the("pods", own)
            pod["metadata"] |= {"name": name, "labels": {"app": "web"}}
            ips = [each["ip"] for each in pod["status"]["podIPs"]]
            further = [{"name": "default/n1", "interface": "net1", "ips": ips}]
            pod["metadata"].setdefault("annotations", {})[STATUS] = json.dumps(further)
            server.answers = {
                tuple(word.replace(f"default/{own}", f"default/{name}") for word in words): replace(
                    answer, stdout=answer.stdout.replace(f'"{own}"'.encode(), f'"{name}"'.encode())
                )
                for words, answer in server.answers.items()
            }
        server.logs = {pod["metadata"]["name"]: "x" for pod in server.objects["pods"]}
        server.answers |= _more(server.answers)
        yield server


def _more(known: Mapping[tuple[str, ...], Answer]) -> dict[tuple[str, ...], Answer]:
    """Return answers that were not recorded: archives, findings, ICMP, what is of a node."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz"):
        pass
    found: dict[tuple[str, ...], Answer] = {}
    for node in ("n0", "n1"):
        found[node, "bundle", "-"] = Answer(content.getvalue())
        found[node, "doctor", "-o", "json"] = Answer(b"[]")
        found[node, "events", "-o", "json", "--follow"] = known[node, "events", "-o", "json"]
        found[node, "show", "node/ovn0", "-o", "json"] = Answer(b"[]")
    for words, answer in known.items():
        if words[1] == "hop":
            icmp = {"tcp": "icmp", "8080": "0"}
            asked = tuple(icmp.get(word, word) for word in words)
            found[asked] = answer
            found[tuple(f"{w}/net1" if w.startswith("default/web") else w for w in asked)] = answer
    return found


@pytest.fixture
def environment(world: ApiServer, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a shell with kubectl's plugin and a kubeconfig."""
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    config = write_kubeconfig(tmp_path / "config", world.url)
    path = f"{kubectl.parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "KUBECONFIG": str(config)}


def test_each_command_has_examples() -> None:
    assert len(EXAMPLES) >= 2 * 9 - 1


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_as_it_is_typed(
    example: str, environment: dict[str, str], tmp_path: Path
) -> None:
    if "|" in example:
        line = ["bash", "-euo", "pipefail", "-c", example]
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False
        )
        code, text = done.returncode, done.stdout.decode()
    else:
        words = [*shlex.split(example)[2:], "--kubeconfig", environment["KUBECONFIG"]]
        with chdir(tmp_path):
            result = CliRunner().invoke(cluster, words)
        code, text = result.exit_code, result.stdout
    assert (code, bool(text) or example.split()[2] in SILENT) == (0, True), text
