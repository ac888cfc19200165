"""`kubectl ovnlet events`: the Events of all agents by time, and new ones as they happen."""

import json
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

import click
import yaml

from ovnlet.cluster.access import Access, Agent
from ovnlet.cluster.ask import Wanted
from ovnlet.cluster.nodes import agents, each
from ovnlet.cluster.options import Chosen, ClusterCommand, with_cluster, with_pods
from ovnlet.cluster.output import leave, output_option, shown, told
from ovnlet.core.errors import NotReady

_COMMAND = ("ovnlet", "events", "-o", "json")
_COLUMNS = ("time", "node", "type", "namespace", "pod", "reason", "message")
Event = dict[str, Any]


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet events -A": "of all pods since the agents started",
        "kubectl ovnlet events -f -n default": "new ones of one namespace too",
    },
)
@click.option("-f", "--follow", is_flag=True, help="Print new Events too, until interrupted")
@with_pods
@output_option
@with_cluster
def events(access: Access, chosen: Chosen, follow: bool, output: str) -> None:
    """Show the Events of all agents about pods, the last 500 of each, sorted by time.

    An Event of a pod that is deleted is shown with --all-namespaces only.
    """
    wanted = Wanted(access, chosen)
    asked = wanted.on(agents(access))
    if follow:
        with suppress(KeyboardInterrupt):
            for event in _followed(access, asked):
                if wanted.has(event["namespace"], event["pod"]):
                    _print(event, output)
        return
    answers = each(asked, lambda agent: list(_kept(access, agent)), "asking agents")
    items = sorted(
        (
            event
            for found in answers.given.values()
            for event in found
            if wanted.has(event["namespace"], event["pod"])
        ),
        key=lambda event: str(event["time"]),
    )
    if not shown({"items": items, "errors": answers.errors()}, output):
        for event in items:
            _print(event, output)
    leave(0, answers.failed)


def _kept(access: Access, agent: Agent) -> Iterator[Event]:
    for line in access.lines(agent, _COMMAND):
        yield {"node": agent.node, **json.loads(line)}


def _followed(access: Access, asked: list[Agent]) -> Iterator[Event]:
    """Yield Events of all agents as they arrive, until the last connection ends."""
    queue: SimpleQueue[Event | None] = SimpleQueue()

    def follow(agent: Agent) -> None:
        try:
            for line in access.lines(agent, (*_COMMAND, "--follow")):
                queue.put({"node": agent.node, **json.loads(line)})
        except NotReady as error:
            told({agent.node: str(error)})
        finally:
            queue.put(None)

    # Not a pool: its threads would keep the command from ending when it is interrupted.
    for agent in asked:
        Thread(target=follow, args=(agent,), daemon=True).start()
    left = len(asked)
    while left:
        if (event := queue.get()) is None:
            left -= 1
        else:
            yield event


def _print(event: Event, output: str) -> None:
    """Print one Event: as a line of JSON, a document of YAML, by the template, or as columns."""
    if output == "json":
        click.echo(json.dumps(event, sort_keys=True))
    elif output == "yaml":
        click.echo(f"---\n{yaml.safe_dump(event, sort_keys=True).rstrip()}")
    elif not shown(event, output):
        click.echo("\t".join(str(event[name]) for name in _COLUMNS))
