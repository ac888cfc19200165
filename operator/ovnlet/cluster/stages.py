"""The stages of a packet's way, each in words: what is well, or what is wrong and its fix."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from ovnlet.cluster.endpoints import Target

Hop = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. ``fix`` is empty unless it is a fault."""

    where: str
    state: Literal["ok", "fault", "left out"]
    what: str
    fix: str = ""

    @classmethod
    def ok(cls, where: str, what: str) -> Self:
        """Return a stage that lets the packet through."""
        return cls(where, "ok", what)

    @classmethod
    def fault(cls, where: str, what: str, fix: str) -> Self:
        """Return a stage that drops the packet, or may."""
        return cls(where, "fault", what, fix)

    def as_json(self) -> dict[str, str]:
        """Return the fields as JSON has them."""
        return asdict(self)


def sent(sender: "Target", receiver: "Target", hop: Hop) -> Iterator[Stage]:
    """Yield the stages on the sender's node, in the order of the packet's way."""
    yield from _pod("sender", sender.name, hop)
    yield from _route(receiver, hop["hop"])
    yield from _port("sender", hop["port"])
    yield from _node(sender.node, hop)
    yield from _flows(sender, receiver, hop.get("flows"))


def received(receiver: "Target", hop: Hop, back: Hop | None, protocol: str) -> Iterator[Stage]:
    """Yield the stages on the receiver's node: its pod, port and node, and its way back."""
    yield from _node(receiver.node, hop)
    yield from _port("receiver", hop["port"])
    yield from _pod("receiver", receiver.name, hop)
    listens = hop.get("listens") or {}
    if receiver.port and protocol in listens:
        if listens[protocol]:
            yield Stage.ok("receiver", f"a socket takes {protocol} port {receiver.port}")
        else:
            what = f"no socket in {receiver.name} takes {protocol} port {receiver.port}"
            yield Stage.fault("receiver", what, "start the program, or correct the port")
    if back and "error" in (back.get("hop") or {}):
        fix = f"kubectl ovnlet plan; routes that {receiver.name} got of its own"
        yield Stage.fault("way back", back["hop"]["error"], fix)


def _pod(role: str, name: str, hop: Hop) -> Iterator[Stage]:
    """Yield what differs from what is desired, and what others have put in the way."""
    if hop["error"]:
        yield Stage.fault(role, f"{name}: {hop['error']}", "the log of the agent there says why")
    elif hop["steps"]:
        what = f"{name} is not as desired: {'; '.join(hop['steps'])}"
        yield Stage.fault(role, what, f"ovnlet apply {name}, on its node")
    elif hop["state"].startswith("waiting"):
        yield Stage.fault(role, f"{name} is {hop['state']}", "see its Events")
    else:
        yield Stage.ok(role, f"{name} is as desired, {hop['ips']}")
    for text in hop["interference"]:
        yield Stage.fault(role, f"{name}: {text}", "remove it, if nobody needs it")


def _route(receiver: "Target", hop: Hop) -> Iterator[Stage]:
    if "error" in hop:
        yield Stage.fault("route", hop["error"], "kubectl ovnlet show has the pod's routes")
    elif not hop["mac"]:
        what = f"nobody answers for the next hop {hop['next']}"
        yield Stage.fault("route", what, "is ovn-controller of the node connected? OVN answers")
    else:
        yield Stage.ok("route", f"to {receiver.address} by {hop['next']}, MAC {hop['mac']}")


def _port(role: str, port: Hop) -> Iterator[Stage]:
    if error := port.get("error"):
        yield Stage.fault("port", f"{role}: {error}", "kubectl ovnlet doctor NODE")
    elif not port["installed"]:
        what = f"{role}: OVN has not installed port {port['iface_id']}"
        fix = "does its logical switch port exist, and does its chassis claim it?"
        yield Stage.fault("port", what, fix)
    else:
        what = f"{role}: {port['name']}, OpenFlow port {port['ofport']}, {port['iface_id']}"
        yield Stage.ok("port", what)


def _node(node: str, hop: Hop) -> Iterator[Stage]:
    for finding in hop["node"]:
        yield Stage.fault(f"node {node}", finding["what"], finding["fix"])


def _flows(sender: "Target", receiver: "Target", flows: Hop | None) -> Iterator[Stage]:
    if flows is None:
        yield Stage("OpenFlow", "left out", "the packet does not leave the pod")
    elif "error" in flows:
        yield Stage("OpenFlow", "left out", flows["error"])
    elif flows["result"] == "drop":
        text = " | ".join(line.strip() for line in flows["trace"][-8:])
        fix = f"ovs-appctl ofproto/trace on {sender.node}; ovs-ofctl del-flows for one of nobody"
        yield Stage.fault("OpenFlow", f"{sender.node} drops it: {text}", fix)
    elif flows["result"] == "tunnel":
        yield Stage.ok(
            "OpenFlow", f"{sender.node} sends it through the tunnel to {flows['remote']}"
        )
    elif receiver.pod and receiver.node != sender.node:
        what = f"{sender.node} sends it to no tunnel: {flows['actions']}"
        fix = "is the receiver's chassis in OVN's southbound database?"
        yield Stage.fault("OpenFlow", what, fix)
    else:
        yield Stage.ok("OpenFlow", f"{sender.node} sends it on: {flows['actions']}")
