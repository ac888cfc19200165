"""From the limits that are asked for to the things that enforce them on this node, and what it cannot enforce."""

from collections.abc import Iterator

from ovnlet.core import ids
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.qos import Impairment, Limit, Qos, shown
from ovnlet.core.resources import (
    HtbQdisc,
    LeafQdisc,
    OvsPolicing,
    OvsQos,
    PoliceFilter,
    Port,
    Resource,
    TbfQdisc,
    Veth,
)
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.resources.qos import HTB, NETEM, PFIFO, POLICE, SHORT, TBF, module

# A packet that is larger than the bucket never leaves it. Headers of Ethernet and VLAN, and what tc rounds away.
_ROOM = 64
_PACKETS = 1000


def things(
    attachment: Attachment, qos: Qos, port: Port, veth: Veth, node: Node
) -> Iterator[Resource]:
    if qos.ingress or qos.impairment:
        yield _shaping(attachment, qos, port, veth)
        if HTB not in node.lacks:
            yield HtbQdisc(veth.key, veth.host, qos.ingress.rate if qos.ingress else None)
            if qos.impairment and NETEM not in node.lacks:
                yield _netem(veth, qos.impairment)
            elif qos.ingress:
                yield LeafQdisc(veth.key, veth.host, PFIFO, SHORT)
    if qos.egress:
        yield _policing(port, qos.egress, veth.mtu)
        if TBF not in node.lacks:
            yield TbfQdisc(veth.key, veth.pod, qos.egress.rate, _bucket(qos.egress, veth.mtu))
        if _polices(node):
            yield PoliceFilter(veth.key, veth.host, qos.egress.rate)


def unenforced(qos: Qos, node: Node) -> Iterator[str]:
    """What is asked for and cannot be had here, in words."""
    for what, wanted, needs in (
        ("ingress rate", qos.ingress, (HTB,)),
        ("egress rate", qos.egress, () if _polices(node) else (TBF,)),
        ("latency, jitter, limit and loss", qos.impairment, (HTB, NETEM)),
    ):
        missing = [module(kind) for kind in needs if kind in node.lacks]
        if wanted and missing:
            yield f"{what} not enforced: this node's kernel has no {' and no '.join(missing)}"


def _polices(node: Node) -> bool:
    """A bridge in userspace reads frames from a packet socket, which the kernel serves before its filters."""
    return not node.userspace and POLICE not in node.lacks


def _shaping(attachment: Attachment, qos: Qos, port: Port, veth: Veth) -> OvsQos:
    """Labelled as Kube-OVN labels its own rows; what netem does can be read there too."""
    labels = {
        MARK: ids.mark(*attachment.key),
        "iface-id": port.ids["iface-id"],
        "pod": f"{attachment.namespace}/{attachment.pod}",
    }
    told = {}
    if impairment := qos.impairment:
        told = {"latency": str(impairment.latency), "jitter": str(impairment.jitter)}
        told |= {"limit": str(impairment.limit or _PACKETS), "loss": shown(impairment.loss)}
    return OvsQos(
        port.key,
        port.name,
        qos.ingress.rate if qos.ingress else None,
        _bucket(qos.ingress, veth.mtu) if qos.ingress else 0,
        frozenset(labels.items()),
        frozenset(told.items()),
    )


def _policing(port: Port, limit: Limit, mtu: int) -> OvsPolicing:
    """The contract's columns: a whole kbit, 80 % of the rate where no burst is asked for.

    Where a PoliceFilter comes of them, it lets pass whatever the shaper in the pod does.
    """
    burst = limit.rate * 4 // 5 if limit.burst is None else _bucket(limit, mtu)
    return OvsPolicing(
        port.key, port.name, limit.rate // 1000, -(-max(burst, _bucket(limit, mtu)) // 1000)
    )


def _netem(veth: Veth, impairment: Impairment) -> LeafQdisc:
    limit = impairment.limit or _PACKETS
    return LeafQdisc(
        veth.key, veth.host, NETEM, limit, impairment.latency, impairment.jitter, impairment.loss
    )


def _bucket(limit: Limit, mtu: int) -> int:
    return max(limit.bucket, 2 * 8 * (mtu + _ROOM))
