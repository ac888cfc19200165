"""`ovnlet events`: the agent's recent Events about pods, and new ones as they happen."""

import asyncio
import json
from contextlib import suppress

import click
import yaml

from ovnlet import client
from ovnlet.cli.attachments import socket_option
from ovnlet.cli.options import Command
from ovnlet.cli.output import output_option
from ovnlet.cli.progress import progress
from ovnlet.core.errors import NotReady


@click.command(
    cls=Command,
    examples={
        "ovnlet events": "the last 500",
        "ovnlet events -o json": "the same for a program",
    },
)
@click.option("-f", "--follow", is_flag=True, help="Print new Events too, until interrupted")
@socket_option
@output_option
def events(follow: bool, socket: str, output: str) -> None:
    """Show the Events about pods since the agent started: the last 500 at most, one a line."""
    with (
        suppress(KeyboardInterrupt),
        progress("waiting for new Events" if follow else "asking the agent"),
    ):
        try:
            asyncio.run(_show(socket, {"follow": "true"} if follow else {}, output))
        except NotReady as error:
            raise click.ClickException(str(error)) from error


async def _show(socket: str, query: dict[str, str], output: str) -> None:
    """Print each line of the agent's stream as it arrives. Raises NotReady if it breaks."""
    async for line in client.lines(socket, "/v1/events", query):
        click.echo(_rendered(line, output))


def _rendered(line: str, output: str) -> str:
    """Return a line of JSON as it is, as a YAML document, or as columns with tabs between."""
    if output == "json":
        return line
    event = json.loads(line)
    if output == "yaml":
        return f"---\n{yaml.safe_dump(event, sort_keys=True).rstrip()}"
    return "\t".join(
        (
            event["time"],
            event["type"],
            f"{event['namespace']}/{event['pod']}",
            event["reason"],
            event["message"],
        )
    )
