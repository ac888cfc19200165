"""`status` and `version`: the page, waiting, and what is not well."""

import json
import threading
import time
from importlib import metadata

import pytest

from kit.api_server import Answer, ApiServer
from unit.cluster.conftest import Ask

STATUS = ("status", "-o", "json")


def test_a_sound_cluster_is_a_page_of_four_lines(world: ApiServer, ask: Ask) -> None:
    done = ask("status")
    lines = done.stdout.splitlines()
    assert (done.exit_code, len(lines)) == (0, 4), done.output
    assert lines[0].startswith("agents\t2 of 2 nodes ready, version ")
    assert [line.split("\t")[0] for line in lines[1:]] == ["controllers", "attachments", "repairs"]
    leader = world.the("leases", "ovnlet-controller")["spec"]["holderIdentity"]
    assert lines[1].endswith(f"{leader} leads")
    assert sorted(world.asked) == [("n0", *STATUS), ("n1", *STATUS)]


def test_wide_has_a_line_for_each_node(ask: Ask) -> None:
    lines = ask("status", "-o", "wide").stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines[4:]] == [["n0", "ready"], ["n1", "ready"]]


def test_repairs_are_added_up_and_their_nodes_shown(world: ApiServer, ask: Ask) -> None:
    for node, repairs in (("n0", 0), ("n1", 3)):
        found = world.answer(node, *STATUS)
        world.say({**found, "repairs": repairs, "states": {"drifted": 2}}, node, *STATUS)
    lines = ask("status").stdout.splitlines()
    assert "repairs\t3 in the last hour" in lines
    assert lines[2].endswith(", 4 drifted")
    assert [line.split("\t")[0] for line in lines[4:]] == ["n1"]


@pytest.mark.parametrize(("number", "rest"), [(15, []), (17, ["and 2 more: -o wide"])])
def test_a_page_has_fifteen_nodes_at_most(
    world: ApiServer, ask: Ask, number: int, rest: list[str]
) -> None:
    labels = world.the("nodes", "n0")["metadata"]["labels"]
    for index in range(number):
        meta = {"name": f"x{index:02}", "labels": labels}
        world.objects["nodes"].append({"metadata": meta, "status": {"conditions": []}})
    done = ask("status")
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert [line for line in lines[4:] if not line.startswith("x")] == rest
    assert sum(line.startswith("x") for line in lines) == 15


@pytest.mark.parametrize(
    ("available", "holder", "said"),
    [(1, "a", (3, "1 of 2 ready, a leads")), (2, None, (0, "2 of 2 ready, nobody leads"))],
)
def test_controllers_that_are_short_are_not_ready(
    world: ApiServer, ask: Ask, available: int, holder: str | None, said: tuple[int, str]
) -> None:
    deployment = world.the("deployments", "ovnlet-controller")
    deployment["spec"]["replicas"] = 2
    deployment["status"]["availableReplicas"] = available
    world.the("leases", "ovnlet-controller")["spec"]["holderIdentity"] = holder
    done = ask("status")
    assert (done.exit_code, done.stdout.splitlines()[1]) == (said[0], f"controllers\t{said[1]}")


def test_beside_kube_ovn_there_are_no_controllers_of_ours(world: ApiServer, ask: Ask) -> None:
    world.objects["deployments"].clear()
    done = ask("status")
    assert (done.exit_code, "controllers" in done.stdout) == (0, False)
    page = json.loads(ask("status", "-o", "json").stdout)
    assert page["controllers"] == {"wanted": None, "available": None, "leader": None}


def test_labels_choose_nodes(world: ApiServer, ask: Ask) -> None:
    world.the("nodes", "n1")["metadata"]["labels"]["zone"] = "b"
    assert ask("status", "-l", "zone=b", "-o", "jsonpath={.nodes[*].node}").stdout == "n1"


def test_wait_ends_once_all_is_ready(world: ApiServer, ask: Ask) -> None:
    """It begins without ovnlet at all, as before an installation."""
    daemons = world.objects["daemonsets"].copy()
    world.objects["daemonsets"].clear()
    ready = world.agent("n1")["status"].pop("conditions")
    times: dict[str, float] = {}

    def install() -> None:
        time.sleep(1.5)
        world.objects["daemonsets"] += daemons
        time.sleep(1.5)
        times["ready"] = time.monotonic()
        world.agent("n1")["status"]["conditions"] = ready

    threading.Thread(target=install).start()
    done = ask("status", "--wait", "--wait-duration", "2m")
    assert (done.exit_code, done.stdout.split(",")[0]) == (0, "agents\t2 of 2 nodes ready")
    assert time.monotonic() > times["ready"]


def test_wait_gives_up_after_its_duration_and_shows_the_page(world: ApiServer, ask: Ask) -> None:
    world.answers["n1", *STATUS] = Answer(stderr=b"Error: no agent answers\n", code=1)
    began = time.monotonic()
    done = ask("status", "--wait", "--wait-duration", "2s")
    assert (done.exit_code, "n1\tnot ready\tno agent answers" in done.stdout) == (3, True)
    assert time.monotonic() - began >= 2


def test_wait_gives_up_without_ovnlet_with_the_reason(world: ApiServer, ask: Ask) -> None:
    world.objects["daemonsets"].clear()
    done = ask("status", "--wait", "--wait-duration", "1s")
    assert (done.exit_code, "is it installed?" in done.stderr) == (1, True)


def test_versions_that_differ_are_the_skew(world: ApiServer, ask: Ask) -> None:
    mine = metadata.version("ovnlet")
    world.answers["n0", "--version"] = Answer(f"ovnlet, version {mine}\n".encode())
    world.answers["n1", "--version"] = Answer(b"ovnlet, version 0.0.9\n")
    done = ask("version")
    assert done.stdout.splitlines() == [
        f"client\t{mine}\t",
        f"n0\t{mine}\t",
        "n1\t0.0.9\tdiffers from the client",
    ]
    value = json.loads(ask("version", "-o", "json").stdout)
    assert (value["skew"], value["agents"]) == (["0.0.9"], {"n0": mine, "n1": "0.0.9"})


def test_an_agent_without_a_version_makes_the_exit_code_1(world: ApiServer, ask: Ask) -> None:
    world.answers["n1", "--version"] = Answer(stderr=b"Error: x\n", code=1)
    done = ask("version")
    assert (done.exit_code, done.stderr) == (1, "n1: x\n")
