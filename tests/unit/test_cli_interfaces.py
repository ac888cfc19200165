"""`ovnlet show` and `plan` of one interface of a pod, against an agent that answers by itself."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from ovnlet import client
from ovnlet.cli import attachments


def _each(ifname: str) -> dict[str, Any]:
    names = {"namespace": "default", "pod": "web", "container_id": "c1", "ifname": ifname}
    return {**names, "state": "attached", "steps": [f"+ Port of {ifname}"], "resources": []}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    calls: list[tuple[str, Any]] = []

    async def answer(_: str, path: str, *, method: str, query: Any) -> tuple[int, Any]:
        calls.append((path, query))
        return 200, [_each(name) for name in ("eth0", "net1", "net2")]

    monkeypatch.setattr(client, "ask", answer)
    return calls


def run(*words: str) -> Any:
    command = getattr(attachments, words[0])
    return CliRunner().invoke(command, [*words[1:], "--socket=/nowhere"])


def test_all_interfaces_are_shown_or_one(asked: list[tuple[str, Any]]) -> None:
    def shown(pod: str) -> list[str]:
        return [each["ifname"] for each in json.loads(run("show", pod, "-o", "json").output)]

    assert shown("default/web") == ["eth0", "net1", "net2"]
    assert shown("default/web/net1") == ["net1"]
    assert {path for path, _ in asked} == {"/v1/attachments/default/web"}


def test_a_step_says_which_interface_it_is_of(asked: list[tuple[str, Any]]) -> None:
    done = run("plan", "default/web")
    assert done.output.splitlines() == [
        "default/web + Port of eth0",
        "default/web/net1 + Port of net1",
        "default/web/net2 + Port of net2",
    ]
    assert done.exit_code == 2
    assert run("plan", "default/web/net2").output == "default/web/net2 + Port of net2\n"
    assert {query["pod"] for _, query in asked} == {"default/web"}


def test_an_interface_that_the_pod_has_not_is_an_error(asked: list[tuple[str, Any]]) -> None:
    assert asked == []
    done = run("show", "default/web/net9")
    assert done.exit_code == 1
    assert "net9" in done.output
