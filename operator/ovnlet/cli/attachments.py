"""The commands that ask a running agent for attachments and plans, or to apply a plan now."""

import asyncio
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import click

from ovnlet import client
from ovnlet.cli.options import Command
from ovnlet.cli.output import DIFFERENT, dumped, output_option, rows
from ovnlet.cli.progress import progress
from ovnlet.core.errors import NotReady


def ask(socket: str, path: str, *, method: str = "GET", **query: str) -> Any:
    """Return the agent's answer. Raises ClickException if there is none or it is an error."""
    try:
        with progress("asking the agent"):
            status, answer = asyncio.run(client.ask(socket, path, method=method, query=query))
    except NotReady as error:
        raise click.ClickException(str(error)) from error
    if status == HTTPStatus.NOT_FOUND:
        raise click.ClickException("no such pod on this node")
    if status != HTTPStatus.OK:
        raise click.ClickException(f"the agent answers {status}: {answer}")
    return answer


def chosen(pod: str) -> tuple[str, str]:
    """Return `NAMESPACE/POD` and the interface behind it, empty for all of them."""
    parts = pod.split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])


def _of_interface(found: Any, ifname: str) -> Any:
    """Return the attachments with that interface, all without one. Raise ClickException."""
    shown = [each for each in found if ifname in ("", each["ifname"])]
    if not shown and found:
        raise click.ClickException(f"the pod has no interface {ifname} of ovnlet's")
    return shown


socket_option = click.option(
    "--socket",
    metavar="PATH",
    default=client.SOCKET,
    envvar="OVNLET_CNI_SOCKET",
    show_default=True,
    help="Connect to the agent at this socket",
)


HEADINGS = ("namespace", "pod", "interface", "addresses", "container", "state", "problems")


def row(each: dict[str, Any]) -> tuple[str, ...]:
    """Return an attachment as the cells of a row."""
    return (
        *(each[name] for name in ("namespace", "pod", "ifname", "ips")),
        each["container_id"][:12],
        each["state"],
        "\n".join(each["problems"]),
    )


@click.command(
    cls=Command,
    examples={
        "ovnlet pods": "all attachments of this node",
        "ovnlet pods -o yaml": "the same for a program",
    },
)
@socket_option
@output_option
def pods(socket: str, output: str) -> None:
    """List the attachments of this node and their states, its own `node/ovn0` first."""
    found = ask(socket, "/v1/attachments")
    if not dumped(found, output):
        rows(HEADINGS, [row(each) for each in found])


@click.command(
    cls=Command,
    examples={
        "ovnlet show default/web-0": "one pod, desired beside observed",
        "ovnlet show default/web-0/eth0": "one interface of it",
        "ovnlet show node/chassis": "the node as a chassis of OVN",
    },
)
@click.argument("pod", metavar="NAMESPACE/POD[/INTERFACE]")
@socket_option
@output_option
def show(pod: str, socket: str, output: str) -> None:
    """Show one pod, or node/ovn0, node/chassis, node/flows, node/cni: desired beside observed."""
    pod, ifname = chosen(pod)
    found = _of_interface(ask(socket, f"/v1/attachments/{pod}"), ifname)
    if not dumped(found, output):
        print_beside(pod, found)


def print_beside(pod: str, found: Iterable[dict[str, Any]]) -> None:
    """Print each attachment of a pod, desired beside observed, and what its pass would do."""
    for each in found:
        cells = [
            ("=" if r["desired"] == r["observed"] else "!", *_sides(r))
            for r in each.get("resources", [])
        ]
        title = f"{pod} {each['ifname']}: {each['state']}"
        rows(
            ("", "kind", "desired", "observed"),
            cells,
            title=title,
            style=lambda mark: "red" if mark == "!" else "",
        )
        for line in [*each.get("steps", []), *([each["error"]] if "error" in each else [])]:
            click.echo(line)
        for line in each.get("interference", []):
            click.echo(f"not ours, may stop traffic: {line}")


@click.command(
    cls=Command,
    examples={
        "ovnlet plan": "what a pass would change, of all pods and the node",
        "ovnlet plan default/web-0": "of one pod",
        "ovnlet plan default/web-0/eth0": "of one interface of it",
    },
)
@click.argument("pod", metavar="[NAMESPACE/POD[/INTERFACE]]", required=False)
@click.option(
    "--node", is_flag=True, help="Plan only what is of the node: ovn0, chassis, flows, CNI files"
)
@socket_option
@output_option
def plan(pod: str | None, node: bool, socket: str, output: str) -> None:
    """Show the steps that a pass would take now.

    Exit with code 2 if there are any, or if the network could not be observed.
    """
    if pod and node:
        raise click.UsageError("give a pod or --node, not both")
    pod, ifname = chosen(pod or "")
    found = ask(
        socket, "/v1/plan", **({"pod": pod} if pod else {}), **({"node": "1"} if node else {})
    )
    found = _of_interface(found, ifname)
    _print_steps(found, output)
    if any(each["steps"] or "error" in each for each in found):
        sys.exit(DIFFERENT)


@click.command(
    cls=Command,
    examples={
        "ovnlet apply default/web-0": "repair one pod now",
    },
)
@click.argument("pod", metavar="NAMESPACE/POD")
@socket_option
@output_option
def apply(pod: str, socket: str, output: str) -> None:
    """Apply the plan of one pod or of the node itself at once, whatever the setting `repair` says.

    Exit with code 2 if steps are left.
    """
    found = ask(socket, f"/v1/apply/{pod}", method="POST")
    _print_steps(found, output)
    if any(each["left"] or "error" in each for each in found):
        sys.exit(DIFFERENT)


def _print_steps(found: Iterable[dict[str, Any]], output: str) -> None:
    """Print each step and each error on a line of its own, or as JSON or YAML."""
    if dumped(found, output):
        return
    for each in found:
        for line in [*each["steps"], *([each["error"]] if "error" in each else [])]:
            click.echo(f"{client.named(each)} {line}")


def _sides(resource: dict[str, Any]) -> tuple[str, str, str]:
    """Return kind, desired and observed facts as the cells of a row."""
    return resource["kind"], _lines(resource["desired"]), _lines(resource["observed"])


def _lines(facts: dict[str, Any] | None) -> str:
    """Return one line per fact; `-` for a resource that does not exist."""
    if facts is None:
        return "-"
    return "\n".join(f"{name} {_text(value)}" for name, value in facts.items())


def _text(value: Any) -> str:
    """Return a fact as text; one that is a mapping as `key=value` pairs."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={text}" for key, text in value.items())
    return str(value)
