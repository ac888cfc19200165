"""The command line: settings, flags and exit codes. What a command does is modules.

A module that is slow to import is imported by the command that needs it.
"""

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ovnlet.cli.lazy import Lazy
from ovnlet.cli.options import Command, read, with_settings
from ovnlet.core.settings import ControllerSettings, Settings
from ovnlet.optional import left_out

# structlog imports it: 3 MB that no line of a log needs.
FOR_TERMINALS = ("rich",)


class _Commands(Lazy):
    modules: Mapping[str, str] = {
        "pods": "ovnlet.cli.attachments",
        "show": "ovnlet.cli.attachments",
        "plan": "ovnlet.cli.attachments",
        "apply": "ovnlet.cli.attachments",
        "status": "ovnlet.cli.status",
        "events": "ovnlet.cli.events",
        "completion": "ovnlet.cli.completion",
        "cluster": "ovnlet.cluster.commands",
    }


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="ovnlet")
def main() -> None:
    """Run the networking agent of a Kubernetes node with OVS/OVN, or the stand-alone controller."""


@main.command(
    cls=Command,
    examples={
        "ovnlet agent --node-name n0": "serve node n0, repair drift, install no CNI files",
        "ovnlet agent --node-name n0 --repair report": "only report drift",
    },
)
@with_settings(Settings)
def agent(**given: Any) -> None:
    """Serve the pods of this node until stopped."""
    settings = read(given, Settings)
    # After the settings: a wrong one is reported before half a second of imports.
    with left_out(*FOR_TERMINALS):
        from ovnlet.agent.wiring import serve  # noqa: PLC0415

    sys.exit(serve(settings))


@main.command(
    cls=Command,
    examples={
        "ovnlet doctor": "the faults of this node, each with its fix",
        "ovnlet doctor -o json": "the same for a program",
        "ovnlet doctor --second-opinion": "pyroute2 and ovsdbapp beside the agent",
    },
)
@with_settings(Settings)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="Print a table for people, or JSON or YAML for programs",
)
@click.option(
    "--second-opinion",
    is_flag=True,
    help="Only compare what the agent sees of each pod with what pyroute2 and ovsdbapp read",
)
def doctor(output: str, second_opinion: bool, **given: Any) -> None:
    """Examine this node and print each fault with its fix. Exit with code 3 if there is a fault.

    Works without an agent; a running agent is asked too. The settings are the agent's: in its
    container they are set.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.doctor import report  # noqa: PLC0415

    sys.exit(report(settings, output, second_opinion=second_opinion))


@main.command(
    cls=Command,
    examples={
        "ovnlet bundle report.tar.gz": "into a file",
        "ovnlet bundle - | tar --list --gzip": "what would be in it",
    },
)
@with_settings(Settings)
@click.argument(
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default="ovnlet-bundle.tar.gz",
)
def bundle(file: Path, **given: Any) -> None:
    """Write an archive for a bug report, without credentials. `-` is standard output.

    It has versions, settings, the doctor's findings, attachments, plans, the end of the log,
    records and our rows of OVSDB.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.bundle import write_bundle  # noqa: PLC0415

    write_bundle(settings, file)


@main.command(
    cls=Command,
    examples={
        "ovnlet hop default/web-0 --to 10.16.0.1 --port 80": "a first packet from it",
        "ovnlet hop default/web-0 --port 80": "as the receiver: its port, and whether it listens",
    },
)
@with_settings(Settings)
@click.argument("pod", metavar="NAMESPACE/POD[/INTERFACE]")
@click.option("--to", metavar="ADDRESS", help="Send the packet there; without it the pod receives")
@click.option(
    "--protocol",
    type=click.Choice(["tcp", "udp", "icmp"]),
    default="tcp",
    show_default=True,
    help="The packet's protocol",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The packet's port")
def hop(pod: str, to: str | None, protocol: str, port: int, **given: Any) -> None:
    """Print what this node does with a packet of a pod, as JSON: a part of `kubectl ovnlet trace`.

    The next hop is resolved if the pod does not know it; the packet itself is not sent.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.hop import print_hop  # noqa: PLC0415

    print_hop(settings, pod, to, protocol, port)


@main.command(
    cls=Command,
    examples={
        "ovnlet uninstall --wait": "once the agent and all pods are gone",
        "ovnlet uninstall --hand-back": "and leave pods and ovn0 to kube-ovn-cni",
        "ovnlet uninstall --cluster --wait": "what the controller made, once nobody uses it",
    },
)
@with_settings(Settings, ControllerSettings)
@click.option("--cut-off", is_flag=True, help="Remove even while pods run: they lose their network")
@click.option(
    "--wait", is_flag=True, help="Wait until the agent and all pods are gone, instead of refusing"
)
@click.option(
    "--hand-back",
    is_flag=True,
    help="Leave the pods and the node's interface to kube-ovn-cni, and remove the rest",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Remove what the stand-alone controller made in the cluster, and nothing from this node",
)
def uninstall(cut_off: bool, wait: bool, cluster: bool, hand_back: bool, **given: Any) -> None:
    """Remove everything of ovnlet from this node, and nothing else.

    Refuses, and removes nothing, while the agent or pods are there. It is safe to repeat. With
    --cluster it removes the rows in OVN's northbound database, the kinds Subnet and IPPool with all
    objects, the annotations of Nodes and the Lease instead.
    """
    name = platform.node().lower()
    from ovnlet.cli.uninstall import run_cluster_uninstall, run_uninstall  # noqa: PLC0415

    if cluster:
        controller = read({**given, "identity": given["identity"] or name}, ControllerSettings)
        return run_cluster_uninstall(controller, cut_off=cut_off, wait=wait)
    settings = read({**given, "node_name": given["node_name"] or name}, Settings)
    return run_uninstall(settings, cut_off=cut_off, wait=wait, back=hand_back)


@main.command(
    cls=Command,
    examples={
        "ovnlet controller --identity a --ovn-nb tcp:192.0.2.1:6641": "a replica",
    },
)
@with_settings(ControllerSettings)
def controller(**given: Any) -> None:
    """Write Subnets and pods to OVN's northbound database until stopped. One replica leads."""
    settings = read(given, ControllerSettings)
    with left_out(*FOR_TERMINALS):
        from ovnlet.controller.replica import serve  # noqa: PLC0415

    sys.exit(serve(settings))


if __name__ == "__main__":
    main(prog_name="ovnlet")
