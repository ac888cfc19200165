"""The faults of limits.

Foreign tools change QoS rows, a port's columns, and queues by `tc`.
"""

from __future__ import annotations

from proofs.drift.faults import Fault, Tools, Where, tools
from proofs.drift.observe import Target

_QOS = "q=$(ovs-vsctl get port {port} qos); "
_QUEUE = _QOS + "u=$(ovs-vsctl get qos $q queues:0); "


def _shell(*lines: str) -> str:
    return f"sh -ec '{'; '.join(lines)}'"


def _rows(name: str, *lines: str, cleanup: str = "") -> Fault:
    """Return a fault of the port's QoS row, which is `$q` in the script, or of its queue, `$u`."""
    return _limit_fault(name, "ovs", _shell(_QUEUE + lines[0], *lines[1:]), cleanup)


def _limit_fault(name: str, where: Where, line: str, cleanup: str = "") -> Fault:
    def cleaned(target: Target) -> Tools:
        return tools(cleanup)(target) if cleanup else []

    return Fault(name, where, tools(line), limited=True, cleanup=cleaned)


ROWS = [
    _limit_fault("Port.qos cleared", "ovs", "ovs-vsctl clear port {port} qos"),
    _rows("QoS row destroyed", "ovs-vsctl clear port {port} qos -- destroy qos $q"),
    _rows(
        "QoS and Queue rows destroyed",
        "ovs-vsctl clear port {port} qos -- destroy qos $q -- destroy queue $u",
    ),
    _rows("Queue row destroyed", "ovs-vsctl clear qos $q queues -- destroy queue $u"),
    _rows("Queue taken from its QoS row", "ovs-vsctl clear qos $q queues"),
    _rows("Queue's max-rate altered", "ovs-vsctl set queue $u other_config:max-rate=77000000"),
    _rows("Queue's max-rate removed", "ovs-vsctl remove queue $u other_config max-rate"),
    _rows("QoS type altered", "ovs-vsctl set qos $q type=linux-noop"),
    _rows("QoS row's labels cleared", "ovs-vsctl clear qos $q external_ids"),
    _rows("Queue row's labels cleared", "ovs-vsctl clear queue $u external_ids"),
    _rows(
        "a foreign QoS row bound",
        "ovs-vsctl set port {port} qos=@new"
        " -- --id=@new create qos type=linux-htb other_config:max-rate=90000000"
        " external_ids:foreign={pod}",
        cleanup=_shell(
            "ovs-vsctl destroy qos"
            " $(ovs-vsctl --bare --columns=_uuid find qos external_ids:foreign={pod})"
        ),
    ),
    _limit_fault(
        "ingress_policing cleared",
        "ovs",
        "ovs-vsctl set interface {port} ingress_policing_rate=0 ingress_policing_burst=0",
    ),
    _limit_fault(
        "ingress_policing altered",
        "ovs",
        "ovs-vsctl set interface {port} ingress_policing_rate=77000",
    ),
]
QUEUES = [
    _limit_fault("host qdisc deleted", "ovs", "tc qdisc del dev {port} root"),
    _limit_fault("host qdisc replaced", "ovs", "tc qdisc replace dev {port} root pfifo limit 99"),
    _limit_fault("host class's queue deleted", "ovs", "tc qdisc del dev {port} parent 1:1"),
    _limit_fault("pod's shaper deleted", "pod", "tc -n {ns} qdisc del dev eth0 root"),
    _limit_fault(
        "pod's shaper altered",
        "pod",
        "tc -n {ns} qdisc change dev eth0 handle 157: root tbf rate 1gbit burst 1mb latency 50ms",
    ),
    _limit_fault(
        "pod's shaper replaced", "pod", "tc -n {ns} qdisc replace dev eth0 root pfifo limit 99"
    ),
]
LIMITS = [*ROWS, *QUEUES]
