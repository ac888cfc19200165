"""Examines Open vSwitch and OVN: daemons, the bridge, the chassis, the tunnel and its MTU."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ovnlet.core.errors import OvnletError
from ovnlet.core.settings import Settings
from ovnlet.core.tunnel import IPV6_LEAST, overhead
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.ovsdb import unixctl
from ovnlet.drivers.ovsdb.replica import Replica, Row

Tables = dict[str, dict[str, Row]]

# The columns that the examination reads, by table.
_TABLES = {
    "Open_vSwitch": ("external_ids", "datapath_types"),
    "Bridge": ("name", "ports", "datapath_type"),
    "Port": ("name", "interfaces"),
    "Interface": ("name", "error", "ofport"),
}
_CONNECT_TIMEOUT = 3.0  # seconds
# The external_ids without which ovn-controller does not start to work, see ovn-controller(8).
_REQUIRED = ("system-id", "ovn-remote", "ovn-encap-type", "ovn-encap-ip")
# How to restart each daemon: as a service of the node, or as a pod.
_RESTART = {
    "ovs-vswitchd": (
        "systemctl restart openvswitch-switch, or the pod that runs OVS; "
        "its log is ovs-vswitchd.log"
    ),
    "ovn-controller": "systemctl restart ovn-host, or the pod that runs it (ovs-ovn with Kube-OVN)",
}
_CONNECT_FIX = (
    "ovs-vsctl get open . external_ids:ovn-remote: "
    "is that address right, and the database reachable?"
)


async def examine(settings: Settings) -> list[Finding]:
    """Examine the daemons and the local database.

    Waits up to 3 s for ovsdb-server. Without it only the daemons can be examined.
    """
    rows, health = await asyncio.gather(_rows(settings.ovsdb), _daemons(settings))
    if isinstance(rows, Finding):
        return [rows, *health]
    (root,) = rows["Open_vSwitch"].values()
    found = [ok("OVS", "ovsdb-server answers"), *health]
    return [
        *found,
        *_bridge(rows, root, settings.bridge),
        *_chassis(root),
        *_host_name(root, settings.node_name),
        *_tunnel(root, settings.mtu),
    ]


async def _rows(path: str) -> Tables | Finding:
    database = Replica(path, "Open_vSwitch", _TABLES, changed=lambda _: None, reloaded=lambda: None)
    database.start()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            await database.connected.wait()
        return dict(database.rows)
    except TimeoutError:
        fix = (
            "start ovsdb-server (systemctl start openvswitch-switch); "
            "in a pod, mount its directory as a hostPath"
        )
        return fault("OVS", f"ovsdb-server at {path}: {database.fault}", fix)
    finally:
        await database.close()


async def _daemons(settings: Settings) -> list[Finding]:
    """Report for each daemon whether it answers and is connected."""
    complaints = await unixctl.part_health(Path(settings.ovsdb).parent, Path(settings.ovn_run_dir))
    by_part = {complaint.partition(":")[0]: complaint for complaint in complaints}
    found = []
    for part, fix in _RESTART.items():
        area = part[:3].upper()
        if part not in by_part:
            found.append(ok(area, f"{part} answers"))
        elif "southbound" in by_part[part]:
            found.append(fault(area, by_part[part], _CONNECT_FIX))
        else:
            found.append(fault(area, by_part[part], fix))
    return found


def _bridge(rows: Tables, root: Row, name: str) -> Iterator[Finding]:
    """Report a bridge that is missing or has the wrong datapath, and interfaces with an error.

    The root row names the datapath that OVN wants, if any, and those that ovs-vswitchd supports.
    """
    bridge = next((row for row in rows["Bridge"].values() if row["name"] == name), None)
    wanted = root["external_ids"].get("ovn-bridge-datapath-type", "")
    if bridge is None:
        yield fault(
            "OVS",
            f"there is no bridge {name}",
            f"ovs-vsctl --may-exist add-br {name}; ovn-controller creates it",
        )
        return
    datapath = bridge["datapath_type"] or "system"
    if wanted and wanted != datapath:
        fix = (
            f"ovs-vsctl set Bridge {name} datapath_type={wanted}, "
            "or correct external_ids:ovn-bridge-datapath-type"
        )
        yield fault("OVS", f"bridge {name} has datapath {datapath}, OVN wants {wanted}", fix)
    elif datapath not in root["datapath_types"]:
        known = ", ".join(sorted(root["datapath_types"]))
        fix = (
            "modprobe openvswitch, "
            "or ovs-vsctl set open . external_ids:ovn-bridge-datapath-type=netdev"
        )
        yield fault("OVS", f"ovs-vswitchd knows no datapath {datapath}, only {known}", fix)
    else:
        yield ok("OVS", f"bridge {name}, datapath {datapath}")
    for port in bridge["ports"]:
        for interface in rows["Port"].get(port, {"interfaces": ()})["interfaces"]:
            row = rows["Interface"].get(interface, {})
            if text := refusal(row):
                fix = (
                    f"ovs-vsctl list Interface {row['name']}; "
                    "for a link that is gone for good: ovs-vsctl del-port"
                )
                yield fault("OVS", f"interface {row['name']}: {text}", fix)


def refusal(row: Mapping[str, Any]) -> str:
    """Return why ovs-vswitchd could not add an Interface, empty if it did.

    A row is written before its link exists. The text of that attempt may stay for a minute after
    the link has come and the Interface has its OpenFlow port.
    """
    text, number = row.get("error"), row.get("ofport")
    added = isinstance(number, int) and number > 0
    return text if isinstance(text, str) and not added else ""


def _chassis(root: Row) -> Iterator[Finding]:
    """Report external_ids that OVN needs and that are not set."""
    missing = [key for key in _REQUIRED if not root["external_ids"].get(key)]
    if missing:
        keys = ", ".join(missing)
        fix = (
            "ovs-vsctl set open . external_ids:KEY=VALUE; with --chassis=manage the agent sets them"
        )
        yield fault("OVN", f"Open_vSwitch.external_ids lacks {keys}", fix)
    else:
        yield ok("OVN", f"chassis {root['external_ids']['system-id']}")


def _host_name(root: Row, node_name: str) -> Iterator[Finding]:
    """Report a host name other than the Node's name, by which `requested-chassis` finds no chassis.

    Without the key ovn-controller takes the kernel's host name.
    """
    ids = root["external_ids"]
    name = ids.get("hostname") or os.uname().nodename
    if node_name in (name, ids.get("system-id")):
        yield ok("OVN", f"host name {name}")
        return
    what = f"OVN knows this node by the host name {name}, its Node is {node_name}"
    fix = f"ovs-vsctl set open . external_ids:hostname={node_name}"
    yield note(
        "OVN", f"{what}: ports that ask for the Node by name, as Kube-OVN's do, are not bound", fix
    )


def _tunnel(root: Row, mtu: int) -> Iterator[Finding]:
    """Report tunnel addresses that no link has, and a pod MTU that the tunnel cannot carry.

    An ``mtu`` of 0 means that the agent derives the pods' MTU from the first address's link.
    """
    texts = [part.strip() for part in root["external_ids"].get("ovn-encap-ip", "").split(",")]
    for first, text in ((text is texts[0], text) for text in texts if text):
        found = _link_of(text)
        if isinstance(found, Finding):
            yield found
        elif first:
            taken = overhead(root["external_ids"].get("ovn-encap-type", ""), found[0])
            yield _pod_mtu(mtu, found[1], taken)


def _link_of(text: str) -> Finding | tuple[int, int]:
    """Return IP version and link MTU of a tunnel address, or what is wrong with the address."""
    fix = "ovs-vsctl set open . external_ids:ovn-encap-ip=ADDRESS"
    try:
        address = ip_address(text)
        mtu = PodLinks.mtu_of(address)
    except (ValueError, OvnletError) as error:
        return fault("MTU", f"ovn-encap-ip {text}: {error}", fix)
    if mtu is None:
        what = f"ovn-encap-ip {text} is on no link of this node: tunnels cannot come up"
        return fault("MTU", what, f"{fix} with an address of this node")
    return address.version, mtu


def _pod_mtu(mtu: int, link: int, taken: int) -> Finding:
    most = link - taken
    if mtu <= most and (mtu or most) < IPV6_LEAST:
        what = f"pods have MTU {mtu or most} and no IPv6, which needs {IPV6_LEAST}"
        fix = f"raise the MTU of the tunnel's link to {IPV6_LEAST + taken} or more"
        return fault("MTU", what, fix)
    if mtu <= most:
        return ok("MTU", f"{mtu or most} for pods, the tunnel's link has {link}")
    fix = (
        f"set mtu to {most} or less, or to 0, "
        f"or the MTU of the tunnel's link to {mtu + link - most}"
    )
    return fault("MTU", f"pods have MTU {mtu}; the tunnel's link carries {most} at most", fix)
