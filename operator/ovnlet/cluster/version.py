"""`kubectl ovnlet version`: this client's version, and that of each agent."""

from importlib import metadata

import click

from ovnlet.cluster.access import Access, Agent
from ovnlet.cluster.nodes import agents, each
from ovnlet.cluster.options import ClusterCommand, with_cluster, with_nodes
from ovnlet.cluster.output import leave, output_option, shown, table
from ovnlet.core.errors import NotReady

_TIMEOUT = 30.0


@click.command(
    cls=ClusterCommand,
    examples={"kubectl ovnlet version": "of the client and of each agent"},
)
@with_nodes
@output_option
@with_cluster
def version(access: Access, selector: str, output: str) -> None:
    """Show the versions of this client and of each agent, and which differ."""
    mine = metadata.version("ovnlet")

    def ask(agent: Agent) -> str:
        ran = access.run(agent, ["ovnlet", "--version"], timeout=_TIMEOUT)
        if ran.code or not ran.stdout.strip():
            raise NotReady(ran.error)
        return ran.stdout.decode().split()[-1]

    answers = each(agents(access, selector), ask, "asking agents")
    skew = sorted({each_ for each_ in answers.given.values() if each_ != mine})
    value = {
        "client": mine,
        "agents": answers.given,
        "skew": skew,
        "errors": answers.errors(),
    }
    if not shown(value, output):
        cells = [("client", mine, "")]
        cells += [
            (node, given, "differs from the client" if given != mine else "")
            for node, given in answers.given.items()
        ]
        table(("", "version", ""), cells, output)
    leave(0, answers.failed)
