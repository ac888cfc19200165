"""What this node does with a packet of a pod: the pod's routes, its port, OpenFlow, the tunnel.

The agent says what differs from what is desired; everything else is read here. It is one node's
part of `kubectl ovnlet trace`.
"""

import asyncio
import re
from dataclasses import asdict, dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ovnlet import client
from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.core.resources.ovs import MARK
from ovnlet.core.settings import Settings
from ovnlet.doctor import switch
from ovnlet.drivers.links import path
from ovnlet.drivers.ovsdb import jsonrpc, unixctl

Json = dict[str, Any]

# Seconds. Thousands of flows take ovs-vswitchd a moment.
_TRACE = 10.0
_SOURCE_PORT = 40000
# What ends a trace: the last line of these decides, after each recirculation.
_ACTIONS = re.compile(r"^Datapath actions: (.*)$", re.MULTILINE)
# The tunnel's other end, on the userspace datapath and on the kernel's.
_REMOTE = re.compile(r"tnl_push\(.*?ipv4\(src=[\d.]+,dst=([\d.]+)|tunnel\(.*?dst=([\d.:a-f]+)")
_TAIL = 25


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. ``destination`` is an address."""

    protocol: str
    destination: str
    port: int


async def look(settings: Settings, pod: str, packet: Packet | None, port: int) -> Json:
    """Return what there is of a pod, of ``packet`` from it, and whether it listens on ``port``.

    ``pod`` is `NAMESPACE/POD`, or the same with an interface behind another slash; the default is
    `eth0`. Raise NotReady if no agent answers or the pod is not on this node.
    """
    namespace, _, rest = pod.partition("/")
    name, _, ifname = rest.partition("/")
    status, answer = await client.ask(settings.cni_socket, f"/v1/attachments/{namespace}/{name}")
    if status != HTTPStatus.OK:
        raise NotReady("no such pod on this node")
    shown = next((each for each in answer if each["ifname"] == (ifname or "eth0")), None)
    if shown is None:
        raise NotReady(f"the pod has no interface {ifname or 'eth0'} of ovnlet's")
    found: Json = {
        **{key: shown.get(key) for key in ("state", "problems", "steps", "interference", "ips")},
        "error": shown.get("error", ""),
        "node": [asdict(one) for one in await switch.examine(settings) if one.level == "fault"],
        "port": await _tried(_port(settings, shown)),
    }
    if packet:
        found |= await _sent(settings, shown, packet, found["port"])
    if port and packet is None:
        found["listens"] = await _tried(_listens(shown, port))
    return found


async def _tried(part: Any) -> Any:
    """Return a part, or its error."""
    try:
        return await part
    except (OvnletError, OSError) as error:
        return {"error": str(error)}


async def _listens(shown: Json, port: int) -> Json:
    return {name: path.listens(shown["netns"], name, port) for name in ("tcp", "udp")}


async def _port(settings: Settings, shown: Json) -> Json:
    """Return the row of the pod's interface, by its mark, as far as OVN uses it."""
    mark = f"{shown['container_id']}/{shown['ifname']}"
    select = {
        "op": "select",
        "table": "Interface",
        "where": [],
        "columns": ["name", "ofport", "error", "external_ids"],
    }
    peer = await jsonrpc.connect(settings.ovsdb, "ovsdb-server")
    try:
        answers = await peer.call("transact", ["Open_vSwitch", select])
    finally:
        peer.drop()
    for row in answers[0]["rows"]:
        ids = dict(row["external_ids"][1])
        if ids.get(MARK) == mark:
            return {
                "name": row["name"],
                "ofport": row["ofport"],
                "error": switch.refusal(row),
                "iface_id": ids.get("iface-id", ""),
                "installed": ids.get("ovn-installed") == "true",
                "mac": _mac(shown),
            }
    raise NotReady("Open vSwitch has no port of this pod")


def _mac(shown: Json) -> str:
    """Return the MAC that the pod should have, empty if that is not known."""
    for resource in shown.get("resources", []):
        mac = (resource.get("desired") or {}).get("mac")
        if mac:
            return str(mac)
    return ""


async def _sent(settings: Settings, shown: Json, packet: Packet, port: Json) -> Json:
    """Return the packet's first hop, and what OpenFlow does with it."""
    hop = await _tried(
        asyncio.to_thread(
            path.first_hop, shown["netns"], shown["ifname"], ip_address(packet.destination)
        )
    )
    if isinstance(hop, dict):
        return {"hop": hop, "flows": None}
    facts = asdict(hop)
    if not hop.mac or not isinstance(port.get("ofport"), int) or port["ofport"] < 1:
        return {"hop": facts, "flows": None}
    return {"hop": facts, "flows": await _tried(_flows(settings, hop, packet, port))}


async def _flows(settings: Settings, hop: path.Hop, packet: Packet, port: Json) -> Json:
    """Return what ovs-vswitchd says of the packet: `drop`, `tunnel` or `here`, and its last words.

    Conntrack is not asked: the packet is taken as the first of a connection.
    """
    version = ip_address(packet.destination).version
    kind = packet.protocol if version == 4 else f"{packet.protocol}6"
    names = ("nw_src", "nw_dst") if version == 4 else ("ipv6_src", "ipv6_dst")
    flow = {
        "in_port": port["ofport"],
        "dl_src": port["mac"],
        "dl_dst": hop.mac,
        names[0]: hop.source,
        names[1]: packet.destination,
        "nw_ttl": 64,
        "tp_src": _SOURCE_PORT,
        "tp_dst": packet.port,
    }
    if packet.protocol.startswith("icmp"):
        del flow["tp_src"], flow["tp_dst"]
    text = ",".join([kind, *(f"{name}={value}" for name, value in flow.items())])
    control = unixctl.control_socket(Path(settings.ovsdb).parent, "ovs-vswitchd")
    answer = await unixctl.call(control, "ofproto/trace", settings.bridge, text, within=_TRACE)
    return read(answer)


def read(trace: str) -> Json:
    """Return the result of an `ofproto/trace`, the tunnel's other end, and its last lines."""
    actions = _ACTIONS.findall(trace)
    last = actions[-1] if actions else "drop"
    remote = _REMOTE.search(last)
    result = "tunnel" if remote else "drop" if last == "drop" else "here"
    lines = [line.rstrip() for line in trace.splitlines() if line.strip()]
    return {
        "result": result,
        "remote": (remote[1] or remote[2]) if remote else "",
        "actions": last,
        "trace": lines[-_TAIL:],
    }
