"""The commands about pods: which there are, one in full, and what a pass would change."""

import click

from ovnlet import client
from ovnlet.cli.attachments import HEADINGS, print_beside, row
from ovnlet.cli.output import DIFFERENT
from ovnlet.cluster.access import Access, Missing
from ovnlet.cluster.ask import Wanted, of_pods, ovnlet
from ovnlet.cluster.nodes import agents, each
from ovnlet.cluster.options import Chosen, ClusterCommand, with_cluster, with_namespace, with_pods
from ovnlet.cluster.output import leave, output_option, shown, table
from ovnlet.core.errors import NotReady


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet pods -A": "all attachments of the cluster, and each node's own",
        "kubectl ovnlet pods -n default -l app=web -o wide": "of some pods, with containers",
        "kubectl ovnlet pods -A -o jsonpath='{range .items[*]}{.node} {.ips}{end}'": "a template",
    },
)
@with_pods
@output_option
@with_cluster
def pods(access: Access, chosen: Chosen, output: str) -> None:
    """List the attachments of pods on all nodes, with their states."""
    wanted = Wanted(access, chosen)
    answers = each(
        wanted.on(agents(access)), lambda agent: ovnlet(access, agent, "pods"), "asking agents"
    )
    items = [
        {"node": node, **one}
        for node, found in answers.given.items()
        for one in of_pods(found, wanted)
    ]
    if not shown({"items": items, "errors": answers.errors()}, output):
        namespace_, pod, interface, addresses, container, state, problems = HEADINGS
        headings = (namespace_, pod, "node", addresses, state, problems, interface, container)
        cells = []
        for item in items:
            one = dict(zip(HEADINGS, row(item), strict=True))
            cells.append([item["node"] if name == "node" else one[name] for name in headings])
        table(headings, cells, output, wide=2)
    leave(0, answers.failed)


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet show default/web-0": "one pod on whatever node it is",
        "kubectl ovnlet show node/ovn0 --node n1": "what is of a node itself",
    },
)
@click.argument("pod", metavar="[NAMESPACE/]POD[/INTERFACE]")
@click.option("--node", metavar="NODE", help="The node, for what is of a node itself")
@output_option
@with_cluster
@with_namespace
def show(access: Access, pod: str, node: str | None, output: str) -> None:
    """Show one pod, desired beside observed; its node is found."""
    pod = named(access, pod)
    node = node or node_of(access, pod)
    chosen = [agent for agent in agents(access) if agent.node == node]
    if not chosen:
        raise NotReady(f"no agent on node {node}")
    found = ovnlet(access, chosen[0], "show", pod)
    items = [{"node": node, **one} for one in found]
    if not shown({"items": items, "errors": []}, output):
        click.echo(f"node {node}")
        print_beside(pod, found)


def named(access: Access, pod: str) -> str:
    """Return `NAMESPACE/POD` for a pod of the context's namespace, anything else as it is."""
    return pod if "/" in pod else f"{access.here}/{pod}"


def node_of(access: Access, pod: str) -> str:
    """Return the node of a pod by `NAMESPACE/POD`, with an interface behind it or without.

    Raise NotReady if it has no network of ours.
    """
    namespace, name = pod.split("/")[:2]
    if namespace == "node":
        raise click.UsageError(f"{pod} is there on every node: give --node")
    try:
        found = access.read("CoreV1Api", "read_namespaced_pod", name, namespace)
    except Missing as error:
        raise NotReady(f"no pod {namespace}/{name}") from error
    if found["spec"].get("hostNetwork"):
        raise NotReady(f"{namespace}/{name} uses the network of its node")
    if not found["spec"].get("nodeName"):
        raise NotReady(f"{namespace}/{name} has no node yet")
    return str(found["spec"]["nodeName"])


@click.command(
    cls=ClusterCommand,
    examples={
        "kubectl ovnlet plan -A": "whatever differs anywhere, of pods and of nodes",
        "kubectl ovnlet plan -n default": "of the pods of one namespace",
    },
)
@with_pods
@output_option
@with_cluster
def plan(access: Access, chosen: Chosen, output: str) -> None:
    """Show the steps that passes would take now, on all nodes.

    Exit with code 2 if there are any, or if a network could not be observed.
    """
    wanted = Wanted(access, chosen)
    answers = each(
        wanted.on(agents(access)), lambda agent: ovnlet(access, agent, "plan"), "asking agents"
    )
    items = [
        {"node": node, **one}
        for node, found in answers.given.items()
        for one in of_pods(found, wanted)
        if one["steps"] or "error" in one
    ]
    if not shown({"items": items, "errors": answers.errors()}, output):
        cells = [
            (item["node"], client.named(item), line, item["container_id"][:12])
            for item in items
            for line in (*item["steps"], *([item["error"]] if "error" in item else []))
        ]
        table(("node", "pod", "step", "container"), cells, output, wide=1)
    leave(DIFFERENT if items else 0, answers.failed)
