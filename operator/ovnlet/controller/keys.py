"""The keys of passes, from the ports that concern them."""

import re

from ovnlet.controller.context import Key, Northbound, Objects
from ovnlet.core import ids
from ovnlet.core.errors import Taken
from ovnlet.core.ipam.claims import MACHINE_KEY, MACHINE_LABEL, PROVIDER_LABEL, NodeClaim
from ovnlet.core.resources.northbound import SwitchPort

# The port of a further network: pod, namespace and provider.
_FURTHER = re.compile(r"(.+?)\.([^.]+)\.([^.]+\.[^.]+\.ovn(?:\.[^.]+)?)")


def owner_of(port: SwitchPort) -> Key:
    """Return the key of a port's owner: that of a pod by its label, else that of a Node."""
    pod = port.label("pod")
    if pod is None:
        return ("node", "", ids.of_node_port(port.name))
    namespace, _, name = pod.partition("/")
    name = f"{MACHINE_KEY}{name}" if port.label(MACHINE_LABEL) else name
    provider = port.label(PROVIDER_LABEL)
    return ("pod", namespace, f"{name}/{provider}" if provider else name)


def owners_of_row(name: str, northbound: Northbound, nodes: Objects[NodeClaim]) -> list[Key]:
    """Return the keys of a port whose row has changed or is gone. Raise NotReady."""
    try:
        seen = northbound.port(name)
    except Taken:  # somebody removed our mark
        seen = None
    return [owner_of(seen.port)] if seen else owners_of_removed(name, nodes)


def owners_of_removed(name: str, nodes: Objects[NodeClaim]) -> list[Key]:
    """Return the keys that a port may have had, by its name alone: its row is gone.

    A pod's port is named `pod.namespace`: a pod's name may have dots, a namespace none. In a
    further network its provider follows. A Node's port has no dot, unless an earlier release made
    it.
    """
    pod, dot, namespace = name.rpartition(".")
    node = nodes.get(("", ids.of_node_port(name)))
    if not dot or (node is not None and node.port == name):
        return [("node", "", ids.of_node_port(name))]
    names = [(namespace, pod)]
    if further := _FURTHER.fullmatch(name):
        names.append((further[2], f"{further[1]}/{further[3]}"))
    return [("pod", each[0], f"{kind}{each[1]}") for each in names for kind in ("", MACHINE_KEY)]
