"""From requested limits to the resources that enforce them on this node.

Also reports which limits this node cannot enforce.
"""

from collections.abc import Iterator

from ovnlet.core import ids
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.qos import Impairment, Limit, Qos, format_percent
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

# Bytes added to the MTU: Ethernet and VLAN headers, and what tc rounds away. A packet that is
# larger than the bucket never passes.
_FRAME_OVERHEAD = 64
_DEFAULT_NETEM_LIMIT = 1000  # packets, the default of tc-netem(8)


def resources(
    attachment: Attachment, qos: Qos, port: Port, veth: Veth, node: Node
) -> Iterator[Resource]:
    """Yield the OVSDB rows, qdiscs and filters that enforce ``qos`` and that the kernel has."""
    if qos.ingress or qos.impairment:
        yield _ovs_qos(attachment, qos, port, veth)
        if HTB not in node.lacks:
            yield HtbQdisc(veth.key, veth.host, qos.ingress.rate if qos.ingress else None)
            if qos.impairment and NETEM not in node.lacks:
                yield _netem(veth, qos.impairment)
            elif qos.ingress:
                yield LeafQdisc(veth.key, veth.host, PFIFO, SHORT)
    if qos.egress:
        yield _ovs_policing(port, qos.egress, veth.mtu)
        if TBF not in node.lacks:
            yield TbfQdisc(veth.key, veth.pod, qos.egress.rate, _bucket_size(qos.egress, veth.mtu))
        if _can_police(node, veth.host):
            yield PoliceFilter(veth.key, veth.host, qos.egress.rate)


def unenforced(qos: Qos, node: Node, link: str) -> Iterator[str]:
    """Yield in words each requested limit that this node's kernel cannot enforce on that link."""
    for what, wanted, needs in (
        ("ingress rate", qos.ingress, (HTB,)),
        ("egress rate", qos.egress, () if _can_police(node, link) else (TBF,)),
        ("latency, jitter, limit and loss", qos.impairment, (HTB, NETEM)),
    ):
        missing = [module(kind) for kind in needs if kind in node.lacks]
        if wanted and missing:
            yield f"{what} not enforced: this node's kernel has no {' and no '.join(missing)}"


def _can_police(node: Node, link: str) -> bool:
    """Return whether a filter on the host end, the link of that name, can police.

    A userspace bridge cannot: it reads frames from a packet socket, which the kernel serves before
    its filters.
    """
    return not node.userspace and POLICE not in node.lacks and link not in node.unpoliced


def _ovs_qos(attachment: Attachment, qos: Qos, port: Port, veth: Veth) -> OvsQos:
    """Return the QoS row, labelled as Kube-OVN labels its rows.

    Its other_config also shows what netem does, for people to read.
    """
    labels = {
        MARK: ids.mark(*attachment.key),
        "iface-id": port.ids["iface-id"],
        "pod": f"{attachment.namespace}/{attachment.machine or attachment.pod}",
    }
    netem = {}
    if impairment := qos.impairment:
        netem = {"latency": str(impairment.latency), "jitter": str(impairment.jitter)}
        netem |= {
            "limit": str(impairment.limit or _DEFAULT_NETEM_LIMIT),
            "loss": format_percent(impairment.loss),
        }
    return OvsQos(
        port.key,
        port.name,
        qos.ingress.rate if qos.ingress else None,
        _bucket_size(qos.ingress, veth.mtu) if qos.ingress else 0,
        frozenset(labels.items()),
        frozenset(netem.items()),
    )


def _ovs_policing(port: Port, limit: Limit, mtu: int) -> OvsPolicing:
    """Return the policing columns of the contract.

    They hold a whole kbit, and 80 % of the rate if no burst is requested. The burst is large enough
    for the PoliceFilter that OVS makes of it to pass everything that the shaper in the pod sends.
    """
    burst = limit.rate * 4 // 5 if limit.burst is None else _bucket_size(limit, mtu)
    return OvsPolicing(
        port.key, port.name, limit.rate // 1000, -(-max(burst, _bucket_size(limit, mtu)) // 1000)
    )


def _netem(veth: Veth, impairment: Impairment) -> LeafQdisc:
    """Return the netem qdisc that impairs packets to the pod."""
    limit = impairment.limit or _DEFAULT_NETEM_LIMIT
    return LeafQdisc(
        veth.key, veth.host, NETEM, limit, impairment.latency, impairment.jitter, impairment.loss
    )


def _bucket_size(limit: Limit, mtu: int) -> int:
    """Return the bucket in bits: at least two frames of full size."""
    return max(limit.bucket, 2 * 8 * (mtu + _FRAME_OVERHEAD))
