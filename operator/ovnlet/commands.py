"""The commands that ask a running agent: over its socket, shown as tables on a terminal or as JSON anywhere."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import click
from rich.console import Console
from rich.table import Table

SOCKET = "/run/ovnlet/cni.sock"
DIFFERENT = 2


def _ask(socket: str, path: str, **query: str) -> Any:
    """The agent's answer; a ClickException says what is wrong where there is none."""

    async def ask() -> Any:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=socket)) as http,
            http.get(f"http://agent{path}", params=query) as answer,
        ):
            if answer.status == 404:
                raise click.ClickException("no such pod on this node")
            answer.raise_for_status()
            return await answer.json()

    try:
        return asyncio.run(ask())
    except (aiohttp.ClientError, OSError) as error:
        raise click.ClickException(f"no agent answers on {socket}: {error}; is the DaemonSet's pod running?") from error


socket_option = click.option(
    "--socket", default=SOCKET, envvar="OVNLET_CNI_SOCKET", show_default=True, help="the agent's socket"
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="for people or for programs",
)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True))


@click.command()
@socket_option
@output_option
def pods(socket: str, output: str) -> None:
    """The attachments of this node, and what state each is in."""
    found = _ask(socket, "/v1/attachments")
    if output == "json":
        return _print_json(found)
    table = Table("namespace", "pod", "interface", "addresses", "container", "state", "problems")
    for each in found:
        problems = "\n".join(each["problems"])
        table.add_row(
            each["namespace"],
            each["pod"],
            each["ifname"],
            each["ips"],
            each["container_id"][:12],
            each["state"],
            problems,
        )
    return Console().print(table)


@click.command()
@click.argument("pod", metavar="NAMESPACE/POD")
@socket_option
@output_option
def show(pod: str, socket: str, output: str) -> None:
    """One pod's network, desired and observed side by side."""
    found = _ask(socket, f"/v1/attachments/{pod}")
    if output == "json":
        return _print_json(found)
    console = Console()
    for each in found:
        table = Table("kind", "desired", "observed", title=f"{pod} {each['ifname']}: {each['state']}", show_lines=True)
        for resource in each.get("resources", []):
            desired, observed = (_lines(resource[side]) for side in ("desired", "observed"))
            style = None if desired == observed else "red"
            table.add_row(resource["kind"], desired, observed, style=style)
        console.print(table)
        for line in [*each.get("steps", []), each.get("error", "")]:
            console.print(line, highlight=False, markup=False)
    return None


@click.command()
@click.argument("pod", metavar="[NAMESPACE/POD]", required=False)
@socket_option
@output_option
def plan(pod: str | None, socket: str, output: str) -> None:
    """The steps that a pass would take now. Exit code 2 if there are any, or if a look failed."""
    found = _ask(socket, "/v1/plan", **({"pod": pod} if pod else {}))
    if output == "json":
        _print_json(found)
    else:
        for each in found:
            for line in each["steps"] or ([each["error"]] if "error" in each else []):
                click.echo(f"{each['namespace']}/{each['pod']} {line}")
    if any(each["steps"] or "error" in each for each in found):
        sys.exit(DIFFERENT)


def _lines(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "-"
    return "\n".join(f"{name} {_words(value)}" for name, value in facts.items())


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={text}" for key, text in value.items())
    return str(value)
