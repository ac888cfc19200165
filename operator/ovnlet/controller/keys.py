"""The keys of passes, from the ports that concern them."""

from ovnlet.controller.context import Key, Objects
from ovnlet.core import ids
from ovnlet.core.ipam.claims import NodeClaim
from ovnlet.core.resources.northbound import SwitchPort


def owner_of(port: SwitchPort) -> Key:
    """Return the key of a port's owner: that of a pod by its label, else that of a Node."""
    pod = port.label("pod")
    if pod is None:
        return ("node", "", ids.of_node_port(port.name))
    namespace, _, name = pod.partition("/")
    return ("pod", namespace, name)


def owner_of_removed(name: str, nodes: Objects[NodeClaim]) -> Key:
    """Return the key of a port by its name alone: its row with the labels is gone.

    A pod's port is named `pod.namespace`: a pod's name may have dots, a namespace none. A Node's
    port has no dot, unless an earlier release made it.
    """
    pod, dot, namespace = name.rpartition(".")
    node = nodes.get(("", ids.of_node_port(name)))
    if not dot or (node is not None and node.port == name):
        return ("node", "", ids.of_node_port(name))
    return ("pod", namespace, pod)
