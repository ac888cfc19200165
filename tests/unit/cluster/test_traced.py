"""`trace` from its words to its verdict, by what the nodes of the recorded way say."""

import json
from pathlib import Path
from typing import Any

import pytest

from kit.api_server import Answer, ApiServer
from unit.cluster.conftest import Ask

PORT = 8080
SENT = ' 9. x: y, priority 50\n    /* output to "{}", type "" */\n'


def address(world: ApiServer, pod: str) -> str:
    return str(world.the("pods", pod)["status"]["podIPs"][0]["ip"])


def hop_there(world: ApiServer) -> tuple[str, ...]:
    words = ("--to", address(world, "target"), "--protocol", "tcp", "--port", str(PORT))
    return ("n0", "hop", "default/sender", *words)


HOP_ARRIVED = ("n1", "hop", "default/target", "--port", str(PORT))


def verdict(ask: Ask, *words: str, to: str = f"default/target:{PORT}") -> tuple[int, Any]:
    done = ask("trace", "default/sender", "tcp", to, "-o", "json", *words)
    assert done.exit_code in (0, 3), done.output
    return done.exit_code, json.loads(done.stdout)


def stages(value: Any, state: str) -> list[str]:
    return [one["where"] for one in value["stages"] if one["state"] == state]


def test_a_sound_way_has_a_stage_for_each_part_and_no_fault(ask: Ask) -> None:
    code, value = verdict(ask)
    assert (code, value["verdict"]["works"]) == (0, True), value
    wanted = ["sender", "route", "port", "OpenFlow", "port", "receiver", "receiver"]
    assert stages(value, "ok") == wanted
    assert stages(value, "left out") == ["logical network"]
    lines = ask("trace", "sender", "tcp", f"default/target:{PORT}").stdout.splitlines()
    assert lines[-1] == "verdict\tall is well\tnothing on the way drops it"
    assert [line[:2] for line in lines[:-1]] == ["ok"] * 3 + ["--"] + ["ok"] * 4


def test_the_first_fault_is_the_verdict_with_its_fix(world: ApiServer, ask: Ask) -> None:
    found = world.answer(*hop_there(world))
    world.say({**found, "steps": ["+ Route eth0 0.0.0.0/0"]}, *hop_there(world))
    done = ask("trace", "sender", "tcp", f"default/target:{PORT}", "-n", "default")
    assert done.exit_code == 3
    *_, said, fix = done.stdout.splitlines()
    assert said.startswith("verdict\tsender\tdefault/sender is not as desired: + Route")
    assert fix == "fix\tovnlet apply default/sender, on its node"


def test_a_receiver_that_does_not_listen_is_the_verdict(world: ApiServer, ask: Ask) -> None:
    found = world.answer(*HOP_ARRIVED)
    world.say({**found, "listens": {"tcp": False, "udp": False}}, *HOP_ARRIVED)
    code, value = verdict(ask)
    assert (code, value["verdict"]["where"]) == (3, "receiver")
    assert f"tcp port {PORT}" in value["verdict"]["what"]


@pytest.mark.parametrize("node", ["n0", "n1"])
def test_a_node_that_says_nothing_is_the_verdict(world: ApiServer, ask: Ask, node: str) -> None:
    words = hop_there(world) if node == "n0" else HOP_ARRIVED
    world.answers[words] = Answer(stderr=b"Error: no agent answers\n", code=1)
    code, value = verdict(ask)
    assert (code, value["verdict"]["where"]) == (3, f"node {node}")
    assert value["verdict"]["what"] == "no agent answers"


def test_a_node_without_an_agent_is_the_verdict(world: ApiServer, ask: Ask) -> None:
    world.the("nodes", "n1")["metadata"]["name"] = "other"
    code, value = verdict(ask)
    assert (code, value["verdict"]["what"]) == (3, "no agent runs there")


def test_a_service_stands_for_its_first_ready_pod(ask: Ask) -> None:
    code, value = verdict(ask, to=f"default/web:{PORT}")
    first = value["stages"][0]
    assert (code, first["where"], first["state"]) == (0, "Service", "ok"), value
    assert first["what"] == f"default/web sends to default/target port {PORT}, among others"


@pytest.mark.parametrize(
    ("to", "what"),
    [
        (f"default/nobody:{PORT}", "Service default/nobody has no ready endpoint"),
        ("default/web:81", "Service default/web has no tcp port 81"),
    ],
)
def test_a_service_that_sends_nowhere_is_the_verdict(
    world: ApiServer, ask: Ask, to: str, what: str
) -> None:
    code, value = verdict(ask, to=to)
    assert (code, value["verdict"]["what"]) == (3, what)
    assert world.asked == []


def test_a_service_whose_endpoints_are_gone_sends_nowhere(world: ApiServer, ask: Ask) -> None:
    world.objects["endpoints"].clear()
    code, value = verdict(ask, to=f"default/web:{PORT}")
    assert (code, value["verdict"]["where"]) == (3, "Service")


def test_an_address_of_a_pod_stands_for_the_pod(world: ApiServer, ask: Ask) -> None:
    code, value = verdict(ask, to=f"{address(world, 'target')}:{PORT}")
    assert (code, stages(value, "ok")[-1]) == (0, "receiver")


def test_an_address_outside_has_no_receivers_node(world: ApiServer, ask: Ask) -> None:
    found = world.answer(*hop_there(world))
    outside = ("--to", "192.0.2.1", "--protocol", "icmp", "--port", "0")
    flows = {"result": "here", "remote": "", "actions": "7", "trace": []}
    world.say({**found, "flows": flows}, "n0", "hop", "default/sender", *outside)
    done = ask("trace", "sender", "icmp", "192.0.2.1")
    assert (done.exit_code, {asked[0] for asked in world.asked}) == (0, {"n0"})
    assert "ok\tOpenFlow\tn0 sends it on: 7" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("default/none", "no pod default/none, and no Service of that name"),
        ("fd00::1", "no address of that version of IP yet"),
    ],
)
def test_a_receiver_that_there_is_not_is_an_error(
    world: ApiServer, ask: Ask, to: str, why: str
) -> None:
    world.the("pods", "target")["status"]["podIPs"].append({"ip": "fd00::1"})
    if to == "fd00::1":
        world.the("pods", "target")["status"]["podIPs"] = [{"ip": "fd00::1"}]
        to = "default/target"
    done = ask("trace", "sender", "tcp", to)
    assert (done.exit_code, why in done.stderr) == (1, True), done.output


def test_a_receiver_of_one_word_is_a_wrong_use(ask: Ask) -> None:
    done = ask("trace", "sender", "tcp", "target")
    assert (done.exit_code, "neither an address nor NAMESPACE/NAME" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("port", "code", "where"),
    [("target.default", 0, ""), ("other.default", 3, "logical network")],
)
def test_ovns_own_trace_is_run_and_read(
    ask: Ask, tmp_path: Path, port: str, code: int, where: str
) -> None:
    """The program is one that prints a trace and keeps its last argument, the packet."""
    (tmp_path / "said").write_text(SENT.format(port))
    program = tmp_path / "ovn-trace"
    keep = f'for last; do :; done; echo "$last" > {tmp_path}/packet'
    program.write_text(f"#!/bin/sh\n{keep}\ncat {tmp_path}/said\n")
    program.chmod(0o755)
    found, value = verdict(ask, "--ovn-trace", str(program))
    assert (found, value["verdict"]["where"]) == (code, where), value
    assert 'inport == "sender.default"' in (tmp_path / "packet").read_text()


def test_an_answer_that_finds_no_way_back_is_the_verdict(world: ApiServer, ask: Ask) -> None:
    words = ("--to", address(world, "sender"), "--protocol", "tcp")
    way = ("n1", "hop", "default/target", *words)
    found = world.answer(*way)
    world.say({**found, "hop": {"error": "there is no route"}, "flows": None}, *way)
    code, value = verdict(ask)
    assert (code, value["verdict"]["where"]) == (3, "way back")
