"""The pods of a run, and what foreign tools need to know of them."""

from __future__ import annotations

import json
from typing import Any

from proofs.drift.faults import CUSTOM, GATEWAYS
from proofs.drift.observe import Target
from testbed import workloads
from testbed.workloads import OVN, Running


def pod_body(name: str) -> dict[str, Any]:
    """Return a pod with custom routes. Every second one also has limits, with rates of its own."""
    routes = [
        {"dst": target, "gw": gateway} for target, gateway in zip(CUSTOM, GATEWAYS, strict=True)
    ]
    number = int("".join(filter(str.isdecimal, name)) or "0")
    limits = (
        {"ingress_rate": 20 + number, "egress_rate": 10 + number}
        if number and not number % 2
        else {}
    )
    annotations = {
        "routes": json.dumps(routes),
        **{key: str(value) for key, value in limits.items()},
    }
    return workloads.pod(name, **{f"{OVN}/{key}": value for key, value in annotations.items()})


def target_of(pod: Running) -> Target:
    """Return the target for a running pod."""
    annotations = pod.body["metadata"]["annotations"]
    mac, namespace = annotations[f"{OVN}/mac_address"], pod.body["metadata"]["namespace"]
    ingress, egress = (
        int(annotations.get(f"{OVN}/{key}_rate", 0)) for key in ("ingress", "egress")
    )
    iface_id = f"{pod.name}.{namespace}"
    return Target(
        pod.name,
        pod.container_id,
        pod.netns,
        pod.port,
        iface_id,
        tuple(pod.ips),
        mac,
        ingress=ingress,
        egress=egress,
    )
