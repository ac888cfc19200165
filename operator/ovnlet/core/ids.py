"""Names made from identities: link names, `iface-id`, the mark."""

import re
from hashlib import sha256

# IFNAMSIZ is 16 with the terminating zero.
_LONGEST_CONTRACT_IFNAME = 4
# KubeVirt's further interfaces: `pod` and eleven characters of a hash. A bridge binding renames
# them to the hash and `-nic`.
_OF_KUBEVIRT = re.compile(r"pod([0-9a-f]{11})|([0-9a-f]{11})-nic")


def host_link(container_id: str, ifname: str) -> str:
    """Return the name of the link's end on the node, at most 15 characters.

    It is Kube-OVN's form where that keeps at least eight characters of the container ID. It is a
    hash of both where the interface name is longer, since fewer characters would soon collide. The
    node's own interface, in no container, has its own name.
    """
    if not container_id:
        return ifname
    if ifname == "eth0":
        return f"{container_id[:12]}_h"
    if len(ifname) <= _LONGEST_CONTRACT_IFNAME and len(container_id) > 12:
        return f"{container_id[: 12 - len(ifname)]}_{ifname}_h"
    return f"{sha256(mark(container_id, ifname).encode()).hexdigest()[:13]}_h"


def is_host_link(name: str, container_id: str, ifname: str) -> bool:
    """Return whether the node's end may have this name, that of an adopted one included.

    An adopted attachment is known by as much of the container ID as the name has.
    """
    short = (container_id, shortened(ifname))
    return name == host_link(container_id, ifname) or of_host_link(name) == short


def of_kubevirt(inside: str) -> str | None:
    """Return the interface of KubeVirt's that has this name inside a pod; None if it is none."""
    found = _OF_KUBEVIRT.fullmatch(inside)
    return f"pod{found[1] or found[2]}" if found else None


def shortened(ifname: str) -> str:
    """Return what kube-ovn-cni puts into the host name: of KubeVirt's names seven characters."""
    return ifname[3:10] if ifname == of_kubevirt(ifname) else ifname


def iface_id(namespace: str, pod: str, provider: str) -> str:
    """Return the logical switch port's name, as Kube-OVN's controller makes it."""
    return f"{pod}.{namespace}" if provider == "ovn" else f"{pod}.{namespace}.{provider}"


def is_ovns(provider: str) -> bool:
    """Return whether OVN serves the networks of a provider: `ovn`, or `<name>.<namespace>.ovn`.

    `<name>.<namespace>` is one whose interfaces other plugins make. Kube-OVN's rule is the number
    of parts too.
    """
    parts = provider.split(".")
    return parts[-1] == "ovn" and len(parts) in (1, 3)


def node_iface_id(node: str) -> str:
    """Return the node's own logical switch port, where the Node's annotations name no other."""
    return f"node-{node}"


def node_port(node: str) -> str:
    """Return the node's own logical switch port, as ovnlet's controller names it.

    It has no dot, and every pod's port has one, so that no pod's port can have the same name. Names
    of Kubernetes have no underscore, so that no other node's can.
    """
    return node_iface_id(node.replace(".", "_"))


def of_node_port(name: str) -> str:
    """Return the node of a node's port: of ``node_port`` and of ``node_iface_id``."""
    return name.removeprefix("node-").replace("_", ".")


def mark(container_id: str, ifname: str) -> str:
    """Return our value in external_ids, by which a restarted agent finds its ports."""
    return f"{container_id}/{ifname}"


def marked(text: str) -> tuple[str, str] | None:
    """Return container ID and interface of a mark; None where the text is none."""
    container_id, slash, ifname = text.partition("/")
    return (container_id, ifname) if slash else None


def alias(container_id: str, ifname: str) -> str:
    """Return our mark on the link inside the pod (IFLA_IFALIAS, at most 255 bytes)."""
    return f"ovnlet:{mark(container_id, ifname)}"[:255]


def aliased(text: str) -> tuple[str, str] | None:
    """Return container ID and interface of an alias of ours; None where it is none."""
    prefix, _, rest = text.partition(":")
    return marked(rest) if prefix == "ovnlet" else None


def of_host_link(name: str) -> tuple[str, str] | None:
    """Return the start of the container ID and the interface from Kube-OVN's form of a name."""
    match name.split("_"):
        case [start, "h"]:
            return start, "eth0"
        case [start, *ifname, "h"]:
            return start, "_".join(ifname)
        case _:
            return None
