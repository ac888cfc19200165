"""The rows of a node's Open vSwitch database that make up its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.tool_output import output

SOCKET = Path("/run/openvswitch/db.sock")
TABLES = {
    "Open_vSwitch": ("external_ids", "other_config", "manager_options"),
    "Bridge": (
        "name",
        "datapath_type",
        "fail_mode",
        "ports",
        "mirrors",
        "external_ids",
        "other_config",
        "controller",
    ),
    "Port": (
        "name",
        "interfaces",
        "qos",
        "tag",
        "trunks",
        "vlan_mode",
        "external_ids",
        "other_config",
    ),
    "Interface": (
        *(
            "name",
            "type",
            "options",
            "ofport",
            "error",
            "mac_in_use",
            "mtu",
            "mtu_request",
            "admin_state",
        ),
        *("ingress_policing_rate", "ingress_policing_burst", "external_ids", "other_config"),
    ),
    "QoS": ("type", "queues", "external_ids", "other_config"),
    "Queue": ("dscp", "external_ids", "other_config"),
    "Mirror": ("name", "select_src_port", "select_dst_port", "output_port", "external_ids"),
}


def rows() -> dict[str, Any]:
    """Return the rows by table and name, or UUID if a row has no name."""
    found: dict[str, Any] = {}
    for table, columns in TABLES.items() if SOCKET.exists() else ():
        text = output(
            "ovsdb-client",
            "--timeout=5",
            "--format=json",
            "dump",
            f"unix:{SOCKET}",
            "Open_vSwitch",
            table,
            *columns,
        )
        answer = json.loads(text or '{"headings": [], "data": []}')
        for values in answer["data"]:
            row = dict(zip(answer["headings"], values, strict=True))
            uuid = row.pop("_uuid", ["", ""])[1]
            found[f"{table} {row.get('name') or uuid}"] = row
    return found
