"""`kubectl ovnlet trace`: where a packet goes, in words, and who drops it."""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from ovnlet.cli.output import FAULTY, lines
from ovnlet.cluster.access import Access, Agent
from ovnlet.cluster.ask import printed
from ovnlet.cluster.endpoints import Target, of_pod, target
from ovnlet.cluster.logical import Logical, traced
from ovnlet.cluster.nodes import agents
from ovnlet.cluster.options import ClusterCommand, with_cluster, with_namespace
from ovnlet.cluster.output import output_option, shown
from ovnlet.cluster.stages import Stage, received, sent
from ovnlet.core.errors import NotReady

_Hop = dict[str, Any]

_TIMEOUT = 60.0
_MARKS = {"ok": "ok", "fault": "!!", "left out": "--"}
_LOOKS = {"ok": "green", "!!": "bold red", "--": "yellow"}


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet trace default/web-0 tcp default/web-1:8080": "to a pod",
        "kubectl ovnlet trace default/web-0/net1 icmp default/web-1/net1": "by further interfaces",
        "kubectl ovnlet trace default/web-0 icmp default/web-1 -o json": "for a program",
    },
)
@click.argument("source", metavar="[NAMESPACE/]POD[/INTERFACE]")
@click.argument("protocol", type=click.Choice(["tcp", "udp", "icmp"]))
@click.argument("destination", metavar="NAMESPACE/POD[/INTERFACE]|NAMESPACE/SERVICE|ADDRESS[:PORT]")
@click.option(
    "--ovn-trace",
    "command",
    metavar="COMMAND",
    envvar="OVNLET_OVN_TRACE",
    help="Run ovn-trace by this command, where it reaches OVN's southbound database",
)
@output_option
@with_cluster
@with_namespace
def trace(access: Access, command: str | None, output: str, **way: str) -> None:
    """Say in words where a pod's packet goes and who drops it, with a verdict and a fix.

    Exit with code 3 if something is wrong. An address of IPv6 with a port is [ADDRESS]:PORT.
    """
    sender = of_pod(access, way["source"])
    receiver = target(access, way["destination"], way["protocol"], sender.version)
    stages = _stages(access, sender, receiver, way["protocol"], command)
    wrong = next((stage for stage in stages if stage.state == "fault"), None)
    verdict = (
        {"works": False, "where": wrong.where, "what": wrong.what, "fix": wrong.fix}
        if wrong
        else {"works": True, "where": "", "what": "nothing on the way drops it", "fix": ""}
    )
    value = {"stages": [stage.as_json() for stage in stages], "verdict": verdict}
    if not shown(value, output):
        cells = [(_MARKS[stage.state], stage.where, stage.what) for stage in stages]
        cells.append(("verdict", wrong.where if wrong else "all is well", str(verdict["what"])))
        lines([*cells, *([("fix", wrong.fix)] if wrong else [])], style=_look)
    if wrong:
        sys.exit(FAULTY)


def _look(first: str) -> str:
    return _LOOKS.get(first, "bold")


def _stages(
    access: Access, sender: Target, receiver: Target, protocol: str, command: str | None
) -> list[Stage]:
    """Return all stages in the order of the packet's way."""
    if not receiver.address:
        return list(receiver.stages)
    here, there, back = _hops(access, sender, receiver, protocol)
    if isinstance(here, Stage):
        return [*receiver.stages, here]
    *before, flows = sent(sender, receiver, here)
    stages = [*receiver.stages, *before]
    stages += [*traced(command, Logical(sender, receiver, protocol, here)), flows]
    if isinstance(there, Stage):
        return [*stages, there]
    if there is not None:
        stages += received(receiver, there, None if isinstance(back, Stage) else back, protocol)
    return stages


def _hops(
    access: Access, sender: Target, receiver: Target, protocol: str
) -> tuple[_Hop | Stage, _Hop | Stage | None, _Hop | Stage | None]:
    """Return what the nodes say of the packet, of its receiver, and of the answer, all at once."""
    running = {agent.node: agent for agent in agents(access)}
    number = str(receiver.port)
    send = ("--to", receiver.address, "--protocol", protocol, "--port", number)
    with ThreadPoolExecutor() as pool:
        here = pool.submit(_hop, access, running, sender, send)
        if not receiver.pod:
            return here.result(), None, None
        there = pool.submit(_hop, access, running, receiver, ("--port", number))
        answer = ("--to", sender.address, "--protocol", protocol)
        back = pool.submit(_hop, access, running, receiver, answer)
        return here.result(), there.result(), back.result()


def _hop(
    access: Access, running: Mapping[str, Agent], pod: Target, words: Sequence[str]
) -> _Hop | Stage:
    """Return what the pod's node says, or why it says nothing."""
    where = f"node {pod.node}"
    if pod.node not in running:
        return Stage.fault(where, "no agent runs there", "kubectl ovnlet status -o wide")
    try:
        agent = running[pod.node]
        return dict(printed(access, agent, "hop", pod.name, *words, timeout=_TIMEOUT))
    except NotReady as error:
        return Stage.fault(where, str(error), f"kubectl ovnlet doctor {pod.node}")
