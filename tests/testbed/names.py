"""A DNS server behind a UDP Service, and pods that find Services by name through it.

The server is Debian's dnsmasq, which runs in a pod from the files of the node. Its records are the
Services that exist when the pod is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from testbed import layout, workloads
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.workloads import Cluster

SERVER = "names"
# Directories of the node in which a program finds its libraries.
NODE_FILES = ("/usr", "/lib", "/lib64")


def start(cluster: Cluster, node: str) -> None:
    """Create the Service and the pod, and return once the Service has its endpoint."""
    cluster.apply(*_objects(cluster.bed, node))
    asked = ("get", "endpoints", SERVER, "-o", "jsonpath={.subsets[*].addresses[*].ip}")
    wait_for(lambda: cluster.bed.kubectl(*asked).strip(), "the DNS server", timeout=60)


def _objects(bed: Bed, node: str) -> list[dict[str, Any]]:
    """Return the Service and the pod of the DNS server, with the records of all Services."""
    body = with_node_files(workloads.pod(SERVER))
    body["metadata"]["labels"]["app"] = SERVER
    body["spec"]["nodeName"] = node
    body["spec"]["containers"][0]["command"] = [
        "/usr/sbin/dnsmasq",
        *("--keep-in-foreground", "--user=root", "--conf-file=/dev/null", "--pid-file="),
        *("--no-resolv", "--no-hosts", f"--local=/{layout.CLUSTER_DOMAIN}/"),
        *(f"--host-record={name},{address}" for name, address in _records(bed)),
    ]
    ports = [{"name": kind.lower(), "protocol": kind, "port": 53} for kind in ("UDP", "TCP")]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVER},
        "spec": {
            "clusterIP": layout.DNS_SERVICE_IP,
            "selector": {"app": SERVER},
            "ports": ports,
        },
    }
    return [service, body]


def client(name: str, node: str, *command: str) -> dict[str, Any]:
    """Return a pod that runs a command once and asks the cluster's DNS."""
    body = workloads.pod(name)
    body["spec"] |= {"nodeName": node, "dnsPolicy": "ClusterFirst", "restartPolicy": "Never"}
    body["spec"]["containers"][0]["command"] = list(command)
    return body


def with_node_files(body: dict[str, Any]) -> dict[str, Any]:
    """Return the pod with the programs and libraries of its node, read-only."""
    body["spec"]["volumes"] = [
        {"name": path[1:], "hostPath": {"path": path}} for path in NODE_FILES
    ]
    body["spec"]["containers"][0]["volumeMounts"] = [
        {"name": path[1:], "mountPath": path, "readOnly": True} for path in NODE_FILES
    ]
    return body


def _records(bed: Bed) -> Iterator[tuple[str, str]]:
    """Yield the name and each address of each Service that has one."""
    for each in json.loads(bed.kubectl("get", "services", "-A", "-o", "json"))["items"]:
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        for address in each["spec"].get("clusterIPs") or ():
            if address != "None":
                yield f"{name}.{namespace}.svc.{layout.CLUSTER_DOMAIN}", address
