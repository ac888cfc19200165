"""A stand-in for Kube-OVN's CNI plugin: its requests over kube-ovn-cni's socket, and its results.

The fields are those of the requests that release 1.15 sends (pkg/request/cniserver.go). Kube-OVN's
plugin is a program in Go, which is packaged nowhere here. Only the standard library is used: on the
node it is a program, `python -m testbed.kube_ovn_plugin`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any

Json = dict[str, Any]
VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"]
_TIMEOUT = 60.0  # seconds


class _Connection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("dummy", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)


def request(config: Json, environment: Mapping[str, str]) -> Json:
    """Return the body of a request for the call in the environment."""
    pairs = dict(each.partition("=")[::2] for each in environment["CNI_ARGS"].split(";"))
    return {
        "cni_type": "kube-ovn",
        "pod_name": pairs["K8S_POD_NAME"],
        "pod_namespace": pairs["K8S_POD_NAMESPACE"],
        "container_id": environment["CNI_CONTAINERID"],
        "net_ns": environment.get("CNI_NETNS", ""),
        "if_name": environment["CNI_IFNAME"],
        "provider": config.get("provider") or "ovn",
        "routes": config.get("routes"),
        "dns": config.get("dns", {}),
        "vf_driver": config.get("vf_driver", ""),
        "deviceID": "",
        "vhost_user_socket_volume_name": "",
        "vhost_user_socket_name": "",
        "vhost_user_socket_consumption": "",
    }


def result(config: Json, answer: Json, environment: Mapping[str, str]) -> Json:
    """Return the result of an ADD, of what the agent has answered."""
    sandbox = environment["CNI_NETNS"]
    link = {"name": answer["nicname"], "mac": answer["mac_address"], "sandbox": sandbox}
    ips = [
        {
            "version": each["protocol"].removeprefix("IPv"),
            "address": f"{each['ip']}/{each['cidr'].partition('/')[2]}",
            "gateway": each["gateway"],
            "interface": 0,
        }
        for each in answer["ips"]
    ]
    found = {"cniVersion": config["cniVersion"], "interfaces": [link], "ips": ips, "dns": {}}
    return found | {"routes": answer.get("routes") or []}


def called(config: Json) -> Json | None:
    """Carry out the call in the environment and return what to print. Raise RuntimeError."""
    verb = os.environ["CNI_COMMAND"]
    if verb == "VERSION":
        return {"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS}
    if verb not in ("ADD", "DEL"):
        return None
    http = _Connection(config["server_socket"])
    http.request("POST", f"/api/v1/{verb.lower()}", json.dumps(request(config, os.environ)))
    answer = http.getresponse()
    text = answer.read().decode()
    if answer.status not in (200, 204):
        raise RuntimeError(f"{answer.status}: {text}")
    return result(config, json.loads(text), os.environ) if verb == "ADD" else None


def main() -> int:
    """Serve one call of a runtime. Print the result or the error object."""
    try:
        answer = called(json.loads(sys.stdin.read() or "{}"))
    except Exception as error:  # noqa: BLE001 - a runtime wants an error object whatever happens
        print(json.dumps({"cniVersion": "0.3.1", "code": 999, "msg": repr(error)}))
        return 1
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
