"""`kubectl ovnlet status`: agents, controllers and repairs as a page that fits a screen."""

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click

from ovnlet.cli.output import FAULTY, lines
from ovnlet.cli.progress import progress
from ovnlet.cluster.access import CONTROLLER, Access, Agent, Missing
from ovnlet.cluster.ask import ovnlet
from ovnlet.cluster.nodes import Answers, agents, each
from ovnlet.cluster.options import ClusterCommand, with_cluster, with_nodes
from ovnlet.cluster.output import output_option, shown, table
from ovnlet.core.errors import NotReady

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+)([smh])")
_TIMEOUT, _AGAIN = 30.0, 1.0
# Lines of the page for nodes; `-o wide` has all.
_MOST = 15


def seconds(_: click.Context | None, __: click.Parameter | None, value: str) -> float:
    """Return the seconds of a time such as 30s, 5m or 1h. Raise BadParameter if it is none."""
    if not (found := _DURATION.fullmatch(value)):
        raise click.BadParameter(f"{value!r}; allowed: a number with s, m or h, such as 30s")
    return float(found[1]) * _SECONDS[found[2]]


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet status": "what is not well, on a page",
        "kubectl ovnlet status --wait --wait-duration 2m": "after an installation",
        "kubectl ovnlet status -o jsonpath='{.ready}'": "for a script",
    },
)
@click.option("--wait", is_flag=True, help="Wait until all is ready")
@click.option(
    "--wait-duration",
    callback=seconds,
    metavar="DURATION",
    default="5m",
    show_default=True,
    help="Give up waiting after this time",
)
@with_nodes
@output_option
@with_cluster
def status(access: Access, wait: bool, wait_duration: float, selector: str, output: str) -> None:
    """Show agents and controllers, nodes that are not ready and why, and repairs of the last hour.

    Exit with code 3 if an agent or a controller is not ready.
    """
    page = _awaited(access, selector, wait_duration) if wait else look(access, selector)
    if not shown(page, output):
        _print(page, output)
    if not page["ready"]:
        sys.exit(FAULTY)


def _awaited(access: Access, selector: str, patience: float) -> dict[str, Any]:
    """Return the first page that is ready, or the last one before the time is over."""
    until = time.monotonic() + patience
    with progress("waiting until all is ready"):
        while True:
            last = time.monotonic() > until
            with suppress(*([] if last else [NotReady])):
                page = look(access, selector)
                if page["ready"] or last:
                    return page
            time.sleep(_AGAIN)


def look(access: Access, selector: str = "") -> dict[str, Any]:
    """Return the state of a cluster. Raise NotReady without ovnlet or API server."""
    there = agents(access, selector)
    answers = each(
        there, lambda one: ovnlet(access, one, "status", timeout=_TIMEOUT), "asking agents"
    )
    nodes = [_node(agent, answers) for agent in there]
    controllers = _controllers(access)
    short = controllers["wanted"] is not None and controllers["available"] < controllers["wanted"]
    return {
        "ready": bool(nodes) and all(node["ready"] for node in nodes) and not short,
        "nodes": nodes,
        "controllers": controllers,
        "versions": sorted({node["version"] for node in nodes if node["version"]}),
        "repairs": sum(node["repairs"] for node in nodes),
    }


def _node(agent: Agent, answers: Answers[dict[str, Any]]) -> dict[str, Any]:
    """Return one node: what its agent reports, and why it is not ready."""
    given = answers.given.get(agent.node)
    why = agent.why or answers.failed.get(agent.node, "")
    empty = {"version": "", "attachments": 0, "states": {}, "problems": [], "repairs": 0}
    return {"node": agent.node, "ready": agent.ready and not why, "why": why, **(given or empty)}


def _controllers(access: Access) -> dict[str, Any]:
    """Return how many replicas are wanted and available, and who leads; of none, all is None."""
    try:
        found = access.read("AppsV1Api", "read_namespaced_deployment", CONTROLLER, access.namespace)
    except Missing:
        return {"wanted": None, "available": None, "leader": None}
    leader = None
    with suppress(Missing):
        lease = access.read(
            "CoordinationV1Api", "read_namespaced_lease", CONTROLLER, access.namespace
        )
        leader = lease["spec"].get("holderIdentity") or None
    available = found["status"].get("availableReplicas") or 0
    return {"wanted": found["spec"]["replicas"], "available": available, "leader": leader}


def _print(page: Mapping[str, Any], output: str) -> None:
    nodes = page["nodes"]
    ready = sum(node["ready"] for node in nodes)
    versions = ", ".join(page["versions"]) or "unknown"
    cells = [("agents", f"{ready} of {len(nodes)} nodes ready, version {versions}")]
    controllers = page["controllers"]
    if controllers["wanted"] is not None:
        leads = f"{controllers['leader']} leads" if controllers["leader"] else "nobody leads"
        number = f"{controllers['available']} of {controllers['wanted']} ready"
        cells.append(("controllers", f"{number}, {leads}"))
    number = sum(node["attachments"] for node in nodes)
    states: dict[str, int] = {}
    for node in nodes:
        for state, many in node["states"].items():
            states[state] = states.get(state, 0) + many
    parts = "".join(f", {many} {state}" for state, many in states.items() if state != "attached")
    cells.append(("attachments", f"{number}{parts}"))
    lines([*cells, ("repairs", f"{page['repairs']} in the last hour")])
    _print_nodes([_cells(node) for node in nodes if output == "wide" or _is_shown(node)], output)


def _print_nodes(cells: list[tuple[str, ...]], output: str) -> None:
    headings = ("node", "state", "why", "attachments", "repairs", "version")
    kept = cells if output == "wide" else cells[:_MOST]
    if kept:
        table(headings, kept, output, wide=1)
    if left := len(cells) - len(kept):
        click.echo(f"and {left} more: -o wide")


def _is_shown(node: Mapping[str, Any]) -> bool:
    return not node["ready"] or bool(node["problems"] or node["repairs"])


def _cells(node: Mapping[str, Any]) -> tuple[str, ...]:
    why = [node["why"]] if node["why"] else []
    return (
        node["node"],
        "ready" if node["ready"] else "not ready",
        "\n".join([*why, *node["problems"][:3]]),
        str(node["attachments"]),
        str(node["repairs"]),
        node["version"],
    )
