"""`pods`, `show`, `plan` and `events`: which nodes are asked, and what is shown of whom."""

import json
import time
from pathlib import Path

import pytest
import yaml

from kit.api_server import Answer, ApiServer
from unit.cluster.conftest import Ask

PODS, PLAN = ("pods", "-o", "json"), ("plan", "-o", "json")
EVENTS = ("events", "-o", "json")
TEMPLATE = '{range .items[*]}{.node}/{.namespace}/{.pod}{"\\n"}{end}'


def chosen(ask: Ask, *words: str) -> set[str]:
    return set(ask("pods", *words, "-o", f"jsonpath={TEMPLATE}").stdout.splitlines())


def test_all_namespaces_have_the_nodes_own_too(world: ApiServer, ask: Ask) -> None:
    found = chosen(ask, "-A")
    assert found >= {"n0/node/ovn0", "n0/default/sender", "n1/node/ovn0", "n1/default/target"}
    assert sorted(world.asked) == [("n0", *PODS), ("n1", *PODS)]


def test_without_options_it_is_the_contexts_namespace(ask: Ask) -> None:
    found = chosen(ask)
    assert {"n0/default/sender", "n1/default/target"} <= found
    assert all("/default/" in each for each in found)
    assert chosen(ask, "--context", "shop") == set()


def test_a_namespace_is_chosen_and_only_its_nodes_are_asked(world: ApiServer, ask: Ask) -> None:
    for pod in ("sender", "target"):
        world.the("pods", pod)["metadata"]["namespace"] = "shop" if pod == "sender" else "x"
    found = world.answer("n0", *PODS)
    for each in found:
        each["namespace"] = "shop" if each["pod"] == "sender" else each["namespace"]
    world.say(found, "n0", *PODS)
    assert chosen(ask, "-n", "shop") == {"n0/shop/sender"}
    assert {asked[0] for asked in world.asked} == {"n0"}


@pytest.mark.parametrize("everywhere", [[], ["-A"]])
def test_labels_choose_pods_and_their_nodes(
    world: ApiServer, ask: Ask, everywhere: list[str]
) -> None:
    world.the("pods", "target")["metadata"]["labels"] = {"app": "db", "tier": "1"}
    assert chosen(ask, *everywhere, "-l", "app=db,tier=1") == {"n1/default/target"}
    assert [asked[0] for asked in world.asked] == ["n1"]
    assert chosen(ask, *everywhere, "-l", "app=db,tier=2") == set()


def test_a_pod_of_the_hosts_network_is_none_of_ours(world: ApiServer, ask: Ask) -> None:
    world.the("pods", "target")["spec"]["hostNetwork"] = True
    assert "n1/default/target" not in chosen(ask, "-n", "default")


def test_wide_adds_interface_and_container(world: ApiServer, ask: Ask) -> None:
    (item,) = [each for each in world.answer("n1", *PODS) if each["pod"] == "target"]
    table = [line.split("\t") for line in ask("pods", "-A").stdout.splitlines()]
    wide = [line.split("\t") for line in ask("pods", "-A", "-o", "wide").stdout.splitlines()]
    assert [line[:6] for line in wide] == table
    (line,) = [each for each in wide if each[1] == "target"]
    assert line == [
        *("default", "target", "n1", item["ips"], "attached", ""),
        *("eth0", item["container_id"][:12]),
    ]


def test_json_and_yaml_are_the_same_value(ask: Ask) -> None:
    value = json.loads(ask("pods", "-A", "-o", "json").stdout)
    assert value["errors"] == []
    assert yaml.safe_load(ask("pods", "-A", "-o", "yaml").stdout) == value


def test_a_node_that_does_not_answer_is_named_and_the_rest_is_shown(
    world: ApiServer, ask: Ask
) -> None:
    world.answers["n1", *PODS] = Answer(stderr=b"Error: no agent answers\n", code=1)
    done = ask("pods", "-A")
    assert (done.exit_code, done.stderr) == (1, "n1: no agent answers\n")
    assert {line.split("\t")[2] for line in done.stdout.splitlines()} == {"n0"}
    value = json.loads(ask("pods", "-A", "-o", "json").stdout)
    assert value["errors"] == [{"node": "n1", "error": "no agent answers"}]


def test_show_finds_the_node_itself(world: ApiServer, ask: Ask) -> None:
    lines = ask("show", "default/target").stdout.splitlines()
    assert lines[0] == "node n1"
    assert len(lines) > 1
    assert {line[0] for line in lines[1:]} == {"="}
    assert [asked[0] for asked in world.asked] == ["n1"]
    (item,) = json.loads(ask("show", "default/target", "-o", "json").stdout)["items"]
    assert (item["node"], item["pod"]) == ("n1", "target")


@pytest.mark.parametrize("words", [("target",), ("target", "-n", "default")])
def test_show_takes_a_name_of_the_contexts_namespace(ask: Ask, words: tuple[str, ...]) -> None:
    """The agent was asked for the name alone, and knew no such pod."""
    done = ask("show", *words)
    assert (done.exit_code, done.stdout[:8]) == (0, "node n1\n"), done.output


def test_show_takes_an_interface(world: ApiServer, ask: Ask) -> None:
    words = ("show", "default/target/eth0", "-o", "json")
    world.say(world.answer("n1", "show", "default/target", "-o", "json"), "n1", *words)
    assert ask("show", "default/target/eth0").exit_code == 0
    assert world.asked == [("n1", *words)]


def test_show_of_what_is_a_nodes_needs_the_node(world: ApiServer, ask: Ask) -> None:
    done = ask("show", "node/ovn0")
    assert (done.exit_code, "give --node" in done.stderr) == (2, True)
    (found,) = [each for each in world.answer("n1", *PODS) if each["namespace"] == "node"]
    world.say([{**found, "resources": []}], "n1", "show", "node/ovn0", "-o", "json")
    assert ask("show", "node/ovn0", "--node", "n1").stdout == "node n1\n"
    done = ask("show", "node/ovn0", "--node", "n9")
    assert (done.exit_code, done.stderr) == (1, "Error: no agent on node n9\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hostNetwork": True}, "default/target uses the network of its node"),
        ({"nodeName": None}, "default/target has no node yet"),
        ({"nodeName": "n9"}, "no agent on node n9"),
    ],
)
def test_show_says_why_a_pod_cannot_be_shown(
    world: ApiServer, ask: Ask, change: dict[str, object], why: str
) -> None:
    world.the("pods", "target")["spec"] |= change
    done = ask("show", "default/target")
    assert (done.exit_code, done.stderr) == (1, f"Error: {why}\n")


def test_a_plan_without_steps_prints_nothing(ask: Ask) -> None:
    done = ask("plan", "-A")
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize("change", [{"steps": ["+ Route x"]}, {"steps": [], "error": "no netns"}])
def test_a_plan_with_a_step_or_an_error_ends_with_2(
    world: ApiServer, ask: Ask, change: dict[str, object]
) -> None:
    found = world.answer("n1", *PLAN)
    for each in found:
        each.update(change if each["pod"] == "target" else {})
    # The agent's own command ends with 2 as well, and has printed its answer.
    world.say(found, "n1", *PLAN, code=2)
    done = ask("plan", "-A")
    ((node, pod, text),) = [line.split("\t") for line in done.stdout.splitlines()]
    assert (done.exit_code, node, pod) == (2, "n1", "default/target")
    assert text in ("+ Route x", "no netns")
    assert ask("plan", "-n", "elsewhere").exit_code == 0


def test_a_plan_that_is_not_whole_ends_with_1_but_2_comes_first(world: ApiServer, ask: Ask) -> None:
    world.answers["n0", *PLAN] = Answer(end="cut")
    assert ask("plan", "-A").exit_code == 1
    found = world.answer("n1", *PLAN)
    found[-1]["steps"] = ["+ Route x"]
    world.say(found, "n1", *PLAN, code=2)
    done = ask("plan", "-A")
    assert (done.exit_code, done.stderr.startswith("n0: ")) == (2, True)


def _event(pod: str, time: str) -> bytes:
    names = {"namespace": "default", "pod": pod, "type": "Normal", "reason": "R", "message": "m"}
    return json.dumps({"time": time, **names}).encode() + b"\n"


def test_events_of_all_nodes_are_sorted_by_time(world: ApiServer, ask: Ask) -> None:
    world.answers["n0", *EVENTS] = Answer(_event("sender", "1") + _event("gone", "3"))
    world.answers["n1", *EVENTS] = Answer(_event("target", "2"))
    lines = [line.split("\t") for line in ask("events", "-A").stdout.splitlines()]
    assert [line[:2] + line[4:5] for line in lines] == [
        ["1", "n0", "sender"],
        ["2", "n1", "target"],
        ["3", "n0", "gone"],
    ]
    # The pod `gone` is not there any more, so it is in no namespace that can be asked for.
    assert [line[:1] for line in ask("events").stdout.splitlines()] == ["1", "2"]
    text = ask("events", "-A", "-o", "jsonpath={.items[*].time}").stdout
    assert text == "1 2 3"


def test_recorded_events_have_all_columns(ask: Ask) -> None:
    lines = ask("events", "-A").stdout.splitlines()
    assert lines
    assert {line.count("\t") for line in lines} == {6}


@pytest.mark.parametrize(
    ("output", "first"),
    [
        ("table", "1\tn0\tNormal\tdefault\tsender\tR\tm\n"),
        ("json", '{"message": "m", "namespace": "default", "node": "n0", '),
        ("yaml", "---\nmessage: m\nnamespace: default\nnode: n0\n"),
        ("jsonpath={.node} {.time};", "n0 1;"),
    ],
)
def test_events_follow_until_the_last_connection_ends(
    world: ApiServer, ask: Ask, output: str, first: str
) -> None:
    """An agent that restarts ends its stream; the other goes on."""
    world.answers["n0", *EVENTS, "--follow"] = Answer(_event("sender", "1"))
    world.answers["n1", *EVENTS, "--follow"] = Answer(stderr=b"Error: the agent ended\n", code=1)
    done = ask("events", "-f", "-n", "default", "-o", output)
    assert (done.exit_code, done.stderr) == (0, "n1: the agent ended\n")
    assert done.stdout.startswith(first)


def test_events_follow_prints_before_a_stream_ends(world: ApiServer, tmp_path: Path) -> None:
    from kit.api_server import write_kubeconfig  # noqa: PLC0415
    from ovnlet.cluster.access import Access, Agent  # noqa: PLC0415

    world.answers["n0", "events"] = Answer(b"one\ntwo\nthr", end="open")
    reach = Access(write_kubeconfig(tmp_path / "config", world.url))
    agent = Agent("n0", world.agent("n0")["metadata"]["name"], ready=True)
    began, lines = time.monotonic(), reach.lines(agent, ["ovnlet", "events"])
    assert [next(lines), next(lines)] == ["one", "two"]
    assert time.monotonic() - began < 30
    lines.close()  # type: ignore[attr-defined]
