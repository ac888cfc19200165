"""`python -m testbed.recorder`: objects as a real API server returns them, for the unit tests.

It starts etcd, the API server and the controller manager, creates Services and pods, waits for the
EndpointSlices that the controller manager makes of them, and writes all of them with the version
of the API server to tests/kit/recorded. The status of a pod comes from here, because there is no
kubelet. ``managedFields``, half of the text, is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from testbed import kubernetes, layout, versions
from testbed.api import Api
from testbed.bed import Bed
from testbed.service import wait_for

Object = dict[str, Any]
RECORDED = Path(__file__).parents[1] / "kit" / "recorded"
PARTS = {layout.ETCD, layout.APISERVER, layout.MANAGER}
SHOP = "/api/v1/namespaces/shop"
SLICES = "/apis/discovery.k8s.io/{}/namespaces/{}/endpointslices"
# By default `serving` and `terminating` are dropped before 1.22.
TERMINATING = "EndpointSliceTerminatingCondition=true"
OVN = "ovn.kubernetes.io"
WEB = {"selector": {"app": "web"}}
HTTP: Object = {"name": "http", "port": 80, "targetPort": "web"}
DNS = [{"name": p.lower(), "protocol": p, "port": 53} for p in ("UDP", "SCTP")]
SERVICES: dict[str, Object] = {
    "web": WEB | {"ports": [HTTP, *DNS], "ipFamilyPolicy": "RequireDualStack"},
    "single": WEB | {"ports": [{"port": 80, "targetPort": 8080}]},
    "empty": {"selector": {"app": "none"}, "ports": [HTTP]},
    "headless": WEB | {"ports": [HTTP], "clusterIP": "None"},
    "external": {"type": "ExternalName", "externalName": "example.com"},
    "sticky": WEB | {"ports": [HTTP], "sessionAffinity": "ClientIP"},
    "sticky-minute": WEB
    | {"ports": [HTTP], "sessionAffinity": "ClientIP"}
    | {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}},
    "exposed": WEB
    | {"ports": [HTTP], "type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}
    | {"externalTrafficPolicy": "Local"},
    "unready": WEB | {"ports": [HTTP], "publishNotReadyAddresses": True},
    "outside": {"ports": [{"name": "https", "port": 443, "targetPort": 8443}]},
    "meshed": WEB | {"ports": [HTTP]},
}
LABELS = {"meshed": {"service.kubernetes.io/service-proxy-name": "mesh"}}
# Name, what differs in the spec, and the status, which is a kubelet's; None without one.
PODS: list[tuple[str, Object, Object | None]] = [
    ("waiting", {"nodeName": ""}, None),
    ("bound", {}, None),
    ("ready", {}, {"phase": "Running", "ready": "True", "number": 4}),
    ("unready", {}, {"phase": "Running", "ready": "False", "number": 5}),
    ("leaving", {}, {"phase": "Running", "ready": "True", "number": 6}),
    ("finished", {"restartPolicy": "Never"}, {"phase": "Succeeded", "ready": "False", "number": 7}),
    ("on-the-host", {"hostNetwork": True}, {"phase": "Running", "ready": "True", "number": 8}),
]
# Those with a pod's own IPv6 address that have not finished.
BEHIND_WEB = 3


def main() -> int:
    """Record, and print where."""
    program = kubernetes.assets() / "kube-apiserver"
    gates = _gates(versions.minor(program))
    with (
        mock.patch.object(versions, "gates", return_value=gates),
        Bed.up("recorder", parts=PARTS) as bed,
    ):
        api = bed.api
        made_by = api.get("/version")["gitVersion"]
        _create(api)
        slices = wait_for(lambda: _slices(api), "the EndpointSlices", timeout=60)
        objects = {
            "services": _listed(api, f"{SHOP}/services"),
            "endpointslices": slices,
            "pods": _listed(api, f"{SHOP}/pods"),
            "nodes": _listed(api, "/api/v1/nodes"),
            "statefulsets": _listed(api, "/apis/apps/v1/namespaces/shop/statefulsets"),
        }
    whole = {"made_by": f"kube-apiserver {made_by}", "gates": gates, "objects": objects}
    RECORDED.mkdir(exist_ok=True)
    path = RECORDED / f"kubernetes-{made_by.removeprefix('v')}.json"
    path.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    print(path)
    return 0


def _gates(version: int) -> list[str]:
    """Return the bed's flag for feature gates, with the one for terminating endpoints."""
    given = ",".join((*versions.gates(version), TERMINATING)).removeprefix("--feature-gates=")
    return [f"--feature-gates={given}"] if version < 22 else []


def _create(api: Api) -> None:
    api.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    wait_for(lambda: _has_account(api), "the namespace's service account", timeout=60)
    node: Object = {"metadata": {"name": "n0", "annotations": {f"{OVN}/chassis": "c0"}}}
    api.create("/api/v1/nodes", node)
    addresses = [("InternalIP", "172.30.0.10"), ("Hostname", "n0")]
    status = {"addresses": [{"type": kind, "address": each} for kind, each in addresses]}
    api.patch("/api/v1/nodes/n0/status", {"status": status})
    for name, spec in SERVICES.items():
        meta = {"name": name, "labels": LABELS.get(name, {})}
        api.create(f"{SHOP}/services", {"metadata": meta, "spec": spec})
    ingress = {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]}}
    api.patch(f"{SHOP}/services/exposed/status", {"status": ingress})
    port = {"name": "https", "port": 8443}
    subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [port]}]
    api.create(f"{SHOP}/endpoints", {"metadata": {"name": "outside"}, "subsets": subsets})
    for name, spec, status_of in PODS:
        _create_pod(api, name, spec, status_of)
    given = {f"{OVN}/ip_address": "10.16.0.4,fd00:10:16::4", f"{OVN}/routed": "true", "other": "x"}
    api.patch(f"{SHOP}/pods/ready", {"metadata": {"annotations": given}})
    api.create("/apis/apps/v1/namespaces/shop/statefulsets", _stateful_set())
    wait_for(lambda: "db-0" in _listed(api, f"{SHOP}/pods"), "the StatefulSet's pod")
    # No kubelet ends it, so it stays for the time of grace.
    api.delete(f"{SHOP}/pods/leaving?gracePeriodSeconds=300")


def _create_pod(api: Api, name: str, spec: Object, status: Object | None) -> None:
    ports = [{"name": "web", "containerPort": 8080}]
    whole = {"nodeName": "n0", "containers": [{"name": "c", "image": "x", "ports": ports}], **spec}
    meta = {"name": name, "labels": {"app": "web"}}
    api.create(f"{SHOP}/pods", {"metadata": meta, "spec": whole})
    if status is None:
        return
    host = bool(spec.get("hostNetwork"))
    own = [f"{net}{status['number']}" for net in ("10.16.0.", "fd00:10:16::")]
    ips = ["172.30.0.10"] if host else own
    given = {
        "phase": status["phase"],
        "hostIP": "172.30.0.10",
        "podIP": ips[0],
        "podIPs": [{"ip": each} for each in ips],
        "conditions": [{"type": "Ready", "status": status["ready"]}],
    }
    api.patch(f"{SHOP}/pods/{name}/status", {"status": given})


def _stateful_set() -> Object:
    labels = {"app": "db"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    spec = {"serviceName": "db", "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "db"}, "spec": spec}


def _has_account(api: Api) -> bool:
    return "default" in _listed(api, f"{SHOP}/serviceaccounts")


def _slices(api: Api) -> dict[str, Object]:
    """Return the slices by Service and family, once they have what was created."""
    served = {each["version"] for each in api.get("/apis/discovery.k8s.io")["versions"]}
    version = "v1" if "v1" in served else "v1beta1"
    found = {
        f"{each['metadata']['labels']['kubernetes.io/service-name']} {each['addressType']}": each
        for space in ("shop", "default")
        for each in _listed(api, SLICES.format(version, space)).values()
    }
    web = found.get("web IPv6", {}).get("endpoints") or ()
    conditions = [each.get("conditions", {}) for each in web]
    complete = {"outside IPv4", "kubernetes IPv4", "web IPv4", "unready IPv4"} <= found.keys()
    ended = any(each.get("terminating") for each in conditions)
    return found if complete and ended and len(web) == BEHIND_WEB else {}


def _listed(api: Api, path: str) -> dict[str, Object]:
    """Return the items of a list by name."""
    items = api.get(path)["items"]
    for each in items:
        each["metadata"].pop("managedFields", None)
    return {each["metadata"]["name"]: each for each in items}


if __name__ == "__main__":
    sys.exit(main())
