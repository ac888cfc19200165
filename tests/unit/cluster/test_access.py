"""Kubeconfigs, and each way in which the API server or a connection can fail."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from kit.api_server import TOKEN, Answer, ApiServer, write_kubeconfig
from ovnlet.cluster import access
from ovnlet.cluster.access import Access, Agent
from ovnlet.cluster.failures import unusable
from ovnlet.core.errors import NotReady
from unit.cluster.conftest import Ask
from unit.test_rotated_credentials import keys, name_client, server
from unit.test_rotated_credentials import write_kubeconfig as kubeconfig_with_keys

# Fixtures.
__all__ = ["keys", "server"]

STATUS = ("status", "-o", "json")
PLUGIN = (
    "import json; print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
    " 'kind': 'ExecCredential', 'status': {'token': %r}}))"
)


def test_a_token_of_an_exec_plugin_is_taken(world: ApiServer, tmp_path: Path, ask: Ask) -> None:
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", PLUGIN % TOKEN],
        "interactiveMode": "Never",
    }
    config = write_kubeconfig(tmp_path / "exec", world.url, {"exec": command})
    done = ask("status", "--kubeconfig", str(config))
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_plugin_that_fails_is_an_error_in_a_line(world: ApiServer, tmp_path: Path) -> None:
    """The client goes on without credentials. Its log goes where no test runner reads it."""
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/false",
        "interactiveMode": "Never",
    }
    config = write_kubeconfig(tmp_path / "exec", world.url, {"exec": command})
    script = "from ovnlet.cluster.commands import kubectl; kubectl()"
    done = subprocess.run(
        [sys.executable, "-c", script, "status", "--kubeconfig", config],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: exec: process returned 1",
        "Error: the API server: Unauthorized",
    ]


def id_token(seconds: float) -> str:
    """Return a token of OpenID Connect that expires in so many seconds."""
    parts: tuple[dict[str, object], ...] = (
        {"alg": "none"},
        {"exp": int(time.time() + seconds)},
        {},
    )
    return ".".join(
        urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


def with_oidc(path: Path, url: str, token: str, issuer: str) -> Path:
    """Write a kubeconfig whose user signs in by OpenID Connect."""
    config = {"id-token": token, "refresh-token": "r", "client-id": "c", "client-secret": "s"}
    provider = {"name": "oidc", "config": {**config, "idp-issuer-url": issuer}}
    return write_kubeconfig(path, url, {"auth-provider": provider})


def test_a_token_of_openid_connect_is_taken(world: ApiServer, tmp_path: Path, ask: Ask) -> None:
    world.token = id_token(3600)
    config = with_oidc(tmp_path / "oidc", world.url, world.token, "https://127.0.0.1:1")
    done = ask("status", "--kubeconfig", str(config))
    assert (done.exit_code, done.stderr) == (0, "")


def test_an_issuer_that_is_away_when_a_token_expires_is_an_error_in_a_line(
    world: ApiServer, tmp_path: Path, ask: Ask
) -> None:
    world.token = id_token(-3600)
    config = with_oidc(tmp_path / "oidc", world.url, world.token, "http://127.0.0.1:1")
    done = ask("status", "--kubeconfig", str(config))
    told = "Error: no cluster: the kubeconfig cannot be used: 127.0.0.1:1: Connection refused\n"
    assert (done.exit_code, done.stderr) == (1, told)


def test_a_file_that_cannot_be_read_is_named() -> None:
    """One that --kubeconfig names is refused before; this is one of $KUBECONFIG."""
    told = "the kubeconfig cannot be used: /k: Permission denied"
    assert unusable(PermissionError(13, "Permission denied", "/k")) == told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1, 2]", "the file is no kubeconfig"),
        ("text", "the file is no kubeconfig"),
        ("{a: [b", "the kubeconfig cannot be used: while parsing a flow sequence "),
        ("", "Invalid kube-config. "),
    ],
)
def test_what_is_no_kubeconfig_is_an_error_in_a_line(
    tmp_path: Path, ask: Ask, content: str, told: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    done = ask("status", "--kubeconfig", str(path))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: no cluster: {told}")


def test_without_a_valid_token_the_servers_reason_is_the_error(
    world: ApiServer, tmp_path: Path, ask: Ask
) -> None:
    config = write_kubeconfig(tmp_path / "wrong", world.url, {"token": "another"})
    done = ask("status", "--kubeconfig", str(config))
    assert (done.exit_code, done.stderr) == (1, "Error: the API server: Unauthorized\n")


def test_a_context_is_chosen_by_name_with_its_namespace(world: ApiServer, ask: Ask) -> None:
    done = ask("show", "target", "--context", "shop")
    assert (done.exit_code, done.stderr) == (1, "Error: no pod shop/target\n")
    assert ask("show", "target").exit_code == 0


def test_a_context_that_there_is_not_is_named(ask: Ask) -> None:
    done = ask("status", "--context", "elsewhere")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: no cluster: ")
    assert "elsewhere" in done.stderr


def test_without_ovnlet_the_error_says_what_is_missing(world: ApiServer, ask: Ask) -> None:
    world.objects["daemonsets"].clear()
    done = ask("pods", "-A")
    expected = "Error: no DaemonSet ovnlet in ovnlet-system: is it installed?\n"
    assert (done.exit_code, done.stderr) == (1, expected)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_an_api_server_that_is_away_is_an_error_in_a_line(
    tmp_path: Path, ask: Ask, url: str
) -> None:
    """It was the libraries' text, with their classes and the path of the request."""
    config = write_kubeconfig(tmp_path / "away", url)
    done = ask("status", "--kubeconfig", str(config))
    assert (done.exit_code, done.stderr) == (
        1,
        f"Error: the API server at {url}: Connection refused\n",
    )


def test_what_does_not_speak_tls_is_said_to_be_so(
    world: ApiServer, tmp_path: Path, ask: Ask
) -> None:
    url = world.url.replace("http:", "https:")
    done = ask("status", "--kubeconfig", str(write_kubeconfig(tmp_path / "plain", url)))
    assert done.stderr.startswith(f"Error: the API server at {url}: it does not speak TLS: ")


async def test_a_certificate_of_another_ca_is_said_to_be_so(
    keys: Path, server: tuple[str, ssl.SSLContext], ask: Ask
) -> None:
    url, _ = server
    (keys / "ca.crt").write_bytes((keys / "successor.crt").read_bytes())
    name_client(keys, "old")
    config = kubeconfig_with_keys(keys, url)
    done = await asyncio.to_thread(ask, "status", "--kubeconfig", config)
    said = f"Error: the API server at {url}: its certificate is not trusted: "
    assert done.stderr.startswith(said), done.stderr


def test_an_api_server_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Ask
) -> None:
    monkeypatch.setattr(access, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = ask("status", "--kubeconfig", str(write_kubeconfig(tmp_path / "silent", url)))
    assert done.stderr == f"Error: the API server at {url}: no answer in time\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(end="refused"), "pods/exec is forbidden"),
        (Answer(b"{", end="cut"), "the connection ended before the program"),
        (Answer(end="unknown"), "no such container"),
        (Answer(stderr=b"x\nError: no agent answers at /s\n", code=1), "no agent answers at /s"),
        (Answer(code=7), "ended with code 7"),
        (Answer(b'{"version": ', code=0), "the answer of ovnlet status is cut off"),
    ],
)
def test_an_agent_that_gives_no_answer_is_named_with_the_reason(
    world: ApiServer, ask: Ask, answer: Answer, why: str
) -> None:
    world.answers["n1", *STATUS] = answer
    page = json.loads(ask("status", "-o", "json").stdout)
    one, two = page["nodes"]
    assert (one["node"], one["ready"], one["why"]) == ("n0", True, "")
    assert (two["node"], two["ready"], two["why"]) == ("n1", False, why)
    assert page["ready"] is False


def test_a_program_that_does_not_end_is_given_up(world: ApiServer, tmp_path: Path) -> None:
    world.answers["n0", "sleep"] = Answer(b"early", end="open")
    reach = Access(write_kubeconfig(tmp_path / "config", world.url))
    agent = Agent("n0", world.agent("n0")["metadata"]["name"], ready=True)
    began = time.monotonic()
    with pytest.raises(NotReady, match="no answer in 1 s"):
        reach.run(agent, ["ovnlet", "sleep"], timeout=1)
    assert time.monotonic() - began < 30


def test_a_node_without_an_agent_says_why_it_was_not_asked(
    world: ApiServer, tmp_path: Path
) -> None:
    reach = Access(write_kubeconfig(tmp_path / "config", world.url))
    with pytest.raises(NotReady, match="no agent runs there"):
        reach.run(Agent("n9", why="no agent runs there"), ["ovnlet"], timeout=1)
    assert world.asked == []


def test_a_connection_is_opened_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubelet that hangs takes a connection and never answers it."""
    monkeypatch.setattr(access, "_TIMEOUT", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    kind = access._library().stream.ws_client.WebSocket
    began = time.monotonic()
    with silent, pytest.raises(Exception, match="timed out"):
        kind().connect(f"ws://127.0.0.1:{silent.getsockname()[1]}/")
    assert time.monotonic() - began < 30


def test_a_server_that_takes_a_request_and_never_answers_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The log of a pod on a node whose kubelet hangs: four times ten seconds."""
    monkeypatch.setattr(access, "_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        reach = Access(write_kubeconfig(tmp_path / "config", url))
        with pytest.raises(NotReady, match="no answer in time"):
            reach.log("ovnlet-controller-0", 10)
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
