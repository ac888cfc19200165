"""`ovnlet status`: attachments by state, problems and repairs, in a few lines."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import click

from ovnlet import client
from ovnlet.cli.attachments import ask, socket_option
from ovnlet.cli.options import Command
from ovnlet.cli.output import dumped, lines, output_option
from ovnlet.core.errors import NotReady

# What counts as a repair, among the reasons of Events.
REPAIRED = "NetworkRepaired"
_WINDOW = timedelta(hours=1)
# A page that fits a screen; `ovnlet pods` has them all.
_MOST_PROBLEMS = 20


@click.command(
    cls=Command,
    examples={
        "ovnlet status": "the agent in a few lines",
        "ovnlet status -o json": "the same for a program",
    },
)
@socket_option
@output_option
def status(socket: str, output: str) -> None:
    """Show the agent's version, its attachments by state, problems, and repairs of the last hour.

    Repairs are counted in the agent's last 500 Events.
    """
    try:
        events = asyncio.run(_events(socket))
    except NotReady as error:
        raise click.ClickException(str(error)) from error
    found = summary(ask(socket, "/v1/attachments"), events, datetime.now(UTC))
    if dumped(found, output):
        return
    states = ", ".join(f"{number} {state}" for state, number in found["states"].items())
    cells = [
        ("version", found["version"]),
        ("attachments", f"{found['attachments']}: {states}"),
        ("repairs", f"{found['repairs']} in the last hour"),
    ]
    lines([*cells, *(("problem", problem) for problem in found["problems"])])


async def _events(socket: str) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in client.lines(socket, "/v1/events", {})]


def summary(
    attachments: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    """Return what `status` shows: of pods the number by state, of all keys the problems."""
    shown = list(attachments)
    pods = [each for each in shown if each["namespace"] != "node"]
    states = Counter(str(each["state"]).partition(":")[0] for each in pods)
    problems = [
        f"{client.named(each)}: {text}"
        for each in shown
        for text in (*each["problems"], *([each["state"]] if _is_bad(each["state"]) else []))
    ]
    recent = [each for each in events if datetime.fromisoformat(each["time"]) > now - _WINDOW]
    return {
        "version": version("ovnlet"),
        "attachments": len(pods),
        "states": dict(states.most_common()),
        "problems": problems[:_MOST_PROBLEMS],
        "repairs": sum(each["reason"] == REPAIRED for each in recent),
    }


def _is_bad(state: str) -> bool:
    """Return whether a person should look at a key in this state."""
    return state == "drifted" or state.startswith("throttled")
