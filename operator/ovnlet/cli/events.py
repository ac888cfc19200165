"""`ovnlet events`: what the agent told about pods lately, and what it tells now."""

import asyncio
import json
from contextlib import suppress

import click
import yaml

from ovnlet import client
from ovnlet.cli.attachments import socket_option
from ovnlet.cli.output import output_option
from ovnlet.cli.progress import progress
from ovnlet.core.errors import NotReady


@click.command()
@click.option("-f", "--follow", is_flag=True, help="go on until interrupted")
@socket_option
@output_option
def events(follow: bool, socket: str, output: str) -> None:
    """What was told about pods since the agent's start: the last 500, as JSON one a line."""
    with (
        suppress(KeyboardInterrupt),
        progress("waiting for what happens next" if follow else "asking the agent"),
    ):
        try:
            asyncio.run(_show(socket, {"follow": "true"} if follow else {}, output))
        except NotReady as error:
            raise click.ClickException(str(error)) from error


async def _show(socket: str, query: dict[str, str], output: str) -> None:
    async for line in client.lines(socket, "/v1/events", query):
        click.echo(_rendered(line, output))


def _rendered(line: str, output: str) -> str:
    if output == "json":
        return line
    told = json.loads(line)
    if output == "yaml":
        return f"---\n{yaml.safe_dump(told, sort_keys=True).rstrip()}"
    return "\t".join(
        (
            told["time"],
            told["type"],
            f"{told['namespace']}/{told['pod']}",
            told["reason"],
            told["message"],
        )
    )
