"""`kubectl ovnlet doctor`: the doctor of many nodes at once, grouped by finding."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from ovnlet.cli.output import FAULTY
from ovnlet.cluster.access import Access
from ovnlet.cluster.ask import ovnlet
from ovnlet.cluster.nodes import agents, each
from ovnlet.cluster.options import ClusterCommand, with_cluster, with_nodes
from ovnlet.cluster.output import leave, output_option, shown, table
from ovnlet.core.errors import NotReady

_STYLES = {"fault": "bold red", "note": "yellow", "ok": "green"}
_LEVELS = tuple(_STYLES)
_KEY = ("level", "area", "what", "fix")
# Names of nodes in a cell; the other formats have all.
_MOST = 6


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet doctor --all": "faults and notes of all nodes, each once with its nodes",
        "kubectl ovnlet doctor n0 -o wide": "of one node, with what is well",
    },
)
@click.argument("names", metavar="[NODE]...", nargs=-1)
@click.option("--all", "everywhere", is_flag=True, help="Examine all nodes")
@with_nodes
@output_option
@with_cluster
def doctor(
    access: Access, names: tuple[str, ...], everywhere: bool, selector: str, output: str
) -> None:
    """Examine nodes in parallel, and print each fault once with its fix and the nodes that have it.

    Exit with code 3 if there is a fault.
    """
    if everywhere == bool(names):
        raise click.UsageError("give the names of nodes, or --all")
    chosen = [each_ for each_ in agents(access, selector) if everywhere or each_.node in names]
    if missing := sorted(set(names) - {agent.node for agent in chosen}):
        raise NotReady(f"no agent on node {', '.join(missing)}")
    answers = each(chosen, lambda agent: ovnlet(access, agent, "doctor"), "examining nodes")
    groups = grouped(answers.given)
    if not shown({"items": groups, "errors": answers.errors()}, output):
        cells = [
            (*(group[name] for name in _KEY), _nodes(group["nodes"]))
            for group in groups
            if group["level"] != "ok" or output == "wide"
        ]
        table(
            ("", "area", "finding", "fix", "nodes"), cells, output, style=lambda one: _STYLES[one]
        )
    faulty = any(group["level"] == "fault" for group in groups)
    leave(FAULTY if faulty else 0, answers.failed)


def grouped(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return each finding once with the nodes that have it, faults first, the widest first."""
    nodes: dict[tuple[str, ...], list[str]] = {}
    for node, findings in found.items():
        for finding in findings:
            key = tuple(str(finding[name]) for name in _KEY)
            nodes.setdefault(key, []).append(node)
    groups = [
        {**dict(zip(_KEY, key, strict=True)), "nodes": sorted(set(having))}
        for key, having in nodes.items()
    ]
    return sorted(groups, key=lambda one: (_LEVELS.index(one["level"]), -len(one["nodes"])))


def _nodes(names: list[str]) -> str:
    rest = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return " ".join(names[:_MOST]) + rest
