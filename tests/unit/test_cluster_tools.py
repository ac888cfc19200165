"""`kubectl ovnlet` without a cluster: templates, grouping, durations, nodes, imports."""

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ovnlet.cli.status import REPAIRED, summary
from ovnlet.cluster import nodes
from ovnlet.cluster.access import Agent
from ovnlet.cluster.commands import cluster, kubectl_complete
from ovnlet.cluster.doctor import grouped
from ovnlet.cluster.output import by_template
from ovnlet.cluster.status import seconds
from ovnlet.core.errors import NotReady

ITEMS = {"items": [{"node": "n0", "n": 1}, {"node": "n{1}", "n": 2}], "ready": True}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[*].node}", "n0 n{1}"),
        ("{.items[1].n}", "2"),
        ("{.ready}", "true"),
        ('{range .items[*]}{.node}={.n}{"\\n"}{end}', "n0=1\nn{1}=2\n"),
        ("a {.items[0].node} b{'\\t'}", "a n0 b\t"),
        ("{.missing}", ""),
        ("{$.items[0].n}", "1"),
    ],
)
def test_a_template_is_filled_as_kubectl_does(template: str, text: str) -> None:
    assert by_template(ITEMS, template) == text


def test_a_template_without_meaning_is_an_error_of_its_user() -> None:
    with pytest.raises(click.UsageError, match="no JSONPath"):
        by_template(ITEMS, "{.items[}")


def _finding(level: str, what: str) -> dict[str, str]:
    return {"level": level, "area": "CNI", "what": what, "fix": "x"}


def test_findings_are_grouped_faults_first_and_the_widest_first() -> None:
    one, two = _finding("fault", "one"), _finding("fault", "two")
    groups = grouped({"n0": [_finding("ok", "o"), one], "n1": [two, one], "n2": [two, two, one]})
    assert [(group["what"], group["nodes"]) for group in groups] == [
        ("one", ["n0", "n1", "n2"]),
        ("two", ["n1", "n2"]),
        ("o", ["n0"]),
    ]


@pytest.mark.parametrize(("text", "number"), [("30s", 30), ("5m", 300), ("1h", 3600)])
def test_a_duration_is_read(text: str, number: float) -> None:
    assert seconds(None, None, text) == number


@pytest.mark.parametrize("text", ["5", "m", "-1s", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        seconds(None, None, text)


def test_one_node_that_fails_does_not_keep_the_others_from_answering() -> None:
    def ask(agent: Agent) -> str:
        if agent.node == "n1":
            raise NotReady("gone")
        return agent.pod

    answers = nodes.each([Agent(f"n{i}", f"p{i}") for i in range(3)], ask, "x")
    assert answers.given == {"n0": "p0", "n2": "p2"}
    assert answers.errors() == [{"node": "n1", "error": "gone"}]


class Objects:
    """The API server's objects, as far as ``nodes.agents`` reads them."""

    namespace = "ovnlet-system"

    def __init__(self, named: Mapping[str, list[dict[str, Any]]]) -> None:
        self._named = named

    def read(self, _: str, call: str, *names: str, **query: str) -> Any:
        spec = {"template": {"spec": {"nodeSelector": {"os": "linux"}}}}
        return {"items": self._named["nodes"]} if call == "list_node" else {"spec": spec}

    def pods(self, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        return self._named["pods"]


def _node(name: str, *, os: str = "linux", ready: str = "True") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "message": "kubelet stopped"}]
    return {
        "metadata": {"name": name, "labels": {"os": os}},
        "status": {"conditions": conditions},
    }


def _pod(node: str, *, ready: str = "True", reason: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"state": state}],
    }
    return {"metadata": {"name": f"a-{node}"}, "spec": {"nodeName": node}, "status": status}


def test_a_node_without_an_agent_and_one_whose_pod_crashes_say_why() -> None:
    every = [_node("a"), _node("b"), _node("c"), _node("d", ready="Unknown"), _node("w", os="win")]
    pods = [_pod("a"), _pod("c", ready="False", reason="CrashLoopBackOff"), _pod("d")]
    found = nodes.agents(Objects({"nodes": every, "pods": pods}))  # type: ignore[arg-type]
    assert {agent.node: agent.why for agent in found} == {
        "a": "",
        "b": "no agent runs there",
        "c": "the agent's pod: CrashLoopBackOff",
        "d": "NotReady: kubelet stopped",
    }


def test_a_summary_counts_pods_by_state_and_the_repairs_of_an_hour() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = {"reason": REPAIRED, "time": (now - timedelta(minutes=59)).isoformat()}
    old = {"reason": REPAIRED, "time": (now - timedelta(minutes=61)).isoformat()}
    other = {**event, "reason": "NetworkUpdated"}
    pods = [
        {
            **{"namespace": space, "pod": "p", "state": state, "problems": problems},
            **{"ifname": ifname, "container_id": "" if space == "node" else "c1"},
        }
        for space, ifname, state, problems in (
            ("node", "ovn0", "attached", ["low"]),
            ("default", "eth0", "attached", ["wrong"]),
            ("default", "eth0", "waiting: for an address", []),
            ("default", "net1", "drifted", []),
        )
    ]
    found = summary(pods, [event, old, other], now)
    assert (found["attachments"], found["repairs"]) == (3, 1)
    assert found["states"] == {"attached": 1, "waiting": 1, "drifted": 1}
    assert found["problems"] == ["node/p: low", "default/p: wrong", "default/p/net1: drifted"]


def test_words_are_completed_as_kubectl_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-ovnlet", "status", "--wait"])
    kubectl_complete()
    assert capsys.readouterr().out == "--wait\n--wait-duration\n:4\n"


def test_a_kubeconfig_that_is_not_there_is_named() -> None:
    done = CliRunner().invoke(cluster, ["status", "--kubeconfig", "/none/config"])
    assert (done.exit_code, done.output[:18]) == (1, "Error: no cluster:")


def test_what_is_no_format_is_refused_before_a_cluster_is_asked() -> None:
    done = CliRunner().invoke(cluster, ["status", "-o", "xml"])
    assert (done.exit_code, "allowed: table, wide, json" in done.output) == (2, True)


@pytest.mark.parametrize("verb", sorted(cluster.list_commands(click.Context(cluster))))
def test_help_does_not_import_the_client(verb: str) -> None:
    code = (
        "import sys; from ovnlet.cluster.commands import cluster\n"
        "try: cluster(sys.argv[1:])\n"
        "finally: print('kubernetes' in sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, verb, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout.count("Examples:")) == ("False\n", 1)


@pytest.mark.parametrize("verb", sorted(cluster.list_commands(click.Context(cluster))))
def test_help_has_sections_and_names_of_values(verb: str) -> None:
    """`--namespace` stood below the settings of a replica, and `--kubeconfig` alone."""
    text = CliRunner().invoke(cluster, [verb, "--help"]).stdout
    options, _, rest = text.partition("\nOptions:\n")[2].partition("\n\n")
    sections = [line for line in rest.splitlines() if line.endswith(":") and line[:1].isalpha()]
    assert sections[-2:] == ["Which cluster:", "Examples:"]
    assert set(sections[:-2]) <= {"Which pods or nodes:"}
    assert "--kubeconfig" not in options
    assert " TEXT" not in text
