"""Pods and Deployments of a test or the demo, and what is seen of them from outside."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from typing import Any

from testbed.bed import Bed
from testbed.ping import Ping
from testbed.service import wait_for
from testbed.space import Inside, Space

OVN = "ovn.kubernetes.io"
SANDBOXES = "/run/ovnlet/sandboxes"
IMAGE = "localhost/busybox:1"
PORT, HOST_PORT = 8080, 18080
SERVE = (
    f"echo well >/tmp/index.html; httpd -p {PORT} -h /tmp; "
    "trap 'exit 0' TERM; sleep 2147483647 & wait"
)
SERVER = {
    "command": ["sh", "-c", SERVE],
    "readinessProbe": {"httpGet": {"port": PORT, "path": "/index.html"}, "periodSeconds": 1},
}


def pod_spec() -> dict[str, Any]:
    """Return the spec of a pod of one busybox container that ends fast."""
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}
    # A service account's token is a volume, and kubelet takes seconds to unmount a volume.
    quick = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "dnsPolicy": "Default",
    }
    return {"containers": [container], **quick}


def pod(name: str, **annotations: str) -> dict[str, Any]:
    """Return a pod; annotations are given by their full keys."""
    meta = {"name": name, "labels": {"made-by": "test"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec()}


def web(name: str, node: str = "n0") -> dict[str, Any]:
    """Return a web server on a node, with an HTTP readiness, a TCP liveness and an exec probe."""
    body = pod(name)
    body["spec"]["nodeName"] = node
    body["spec"]["containers"][0] |= SERVER | {
        "ports": [{"containerPort": PORT, "hostPort": HOST_PORT}],
        "startupProbe": {
            "exec": {"command": ["test", "-e", "/tmp/index.html"]},
            "periodSeconds": 1,
        },
        "livenessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    return body


def subnet(name: str, cidr: str, **spec: Any) -> dict[str, Any]:
    """Return a Subnet; ``spec`` is what it has beside its CIDR."""
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}}
    return {**body, "spec": {"cidrBlock": cidr, **spec}}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment of `pod_spec`."""
    labels = {"made-by": "test", "app": name}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": pod_spec()}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def stateful_set(name: str, replicas: int) -> dict[str, Any]:
    """Return a StatefulSet of `pod_spec`."""
    body = deployment(name, replicas)
    return body | {"kind": "StatefulSet", "spec": body["spec"] | {"serviceName": name}}


def web_deployment(name: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment of web servers, Ready by HTTP and spread evenly over the nodes."""
    body = deployment(name, replicas)
    spec = body["spec"]["template"]["spec"]
    spec["containers"][0] |= SERVER
    even = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
    }
    spec["topologySpreadConstraints"] = [even | {"labelSelector": {"matchLabels": {"app": name}}}]
    return body


@dataclass(frozen=True, slots=True)
class Running:
    """A running pod: its object, and its sandbox as the agent's record names it."""

    body: dict[str, Any]
    container_id: str
    netns: str
    space: Space

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.body["metadata"]["name"])

    @property
    def ips(self) -> list[str]:
        """The addresses that the pod was given."""
        return str(self.body["metadata"]["annotations"][f"{OVN}/ip_address"]).split(",")

    @property
    def mac(self) -> str:
        """The MAC address that the pod was given."""
        return str(self.body["metadata"]["annotations"][f"{OVN}/mac_address"])

    @property
    def port(self) -> str:
        """The OVS port, which is the node's end of the pod's link."""
        return f"{self.container_id[:12]}_h"

    def ip(self, *words: str) -> Any:
        """Return the answer of `ip -j` in the pod."""
        text = self.space.run(["ip", "-n", self.netns.rpartition("/")[2], "-j", *words])
        return json.loads(text or "[]")

    def enter(self, *words: str) -> list[str]:
        """Return the command line that, on the node, runs a program in the pod's network."""
        return ["nsenter", f"--net={self.netns}", *words]

    def inside(self, *words: str) -> str:
        """Run a program of the node in the pod's network and return its output."""
        return self.space.run(self.enter(*words))

    def popen(self, *words: str, stdout: int = -1, stderr: int = -1) -> Inside:
        """Start a program of the node in the pod's network, as `Space.popen` does."""
        return self.space.popen(self.enter(*words), stdout=stdout, stderr=stderr)

    def reaches(self, address: str) -> bool:
        """Return whether one ping is answered within 0.3 s."""
        return self.space.result(self.enter("ping", "-c1", "-W0.3", address)).returncode == 0

    def ping(self, address: str) -> Ping:
        """Start a ping of one packet every 20 ms, until it is stopped."""
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - Ping closes it; a pipe would fill up
        process = self.popen("ping", "-n", "-i", "0.02", address, stdout=output.fileno())
        return Ping(process, output)


@dataclass
class Cluster:
    """What a test makes in the cluster by kubectl and observes on the nodes."""

    bed: Bed
    made: list[str] = field(default_factory=list)
    label: str = "test"  # of its pods, by `made-by`

    @property
    def node(self) -> Space:
        """The first node."""
        return self.bed.node(0)

    def apply(self, *bodies: dict[str, Any]) -> None:
        """Apply objects, and delete them in `clear`."""
        self.made += [f"{body['kind'].lower()}/{body['metadata']['name']}" for body in bodies]
        self.bed.kubectl(
            "apply",
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}),
        )

    def make_subnet(self, body: dict[str, Any]) -> None:
        """Apply a Subnet and return once it is Ready; `clear` does not delete it."""
        name = body["metadata"]["name"]
        self.bed.kubectl(
            "wait", "--for=condition=Established", "crd/subnets.kubeovn.io", "--timeout=30s"
        )
        self.bed.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        self.bed.kubectl("wait", "--for=condition=Ready", f"subnet/{name}", "--timeout=30s")

    def pods(self) -> list[dict[str, Any]]:
        """Return all pods of the test."""
        listed = json.loads(
            self.bed.kubectl("get", "pods", "-l", f"made-by={self.label}", "-o", "json")
        )
        return list(listed["items"])

    def running(self, count: int, timeout: float = 60) -> list[Running]:
        """Return all pods of the test, sorted by name, once ``count`` of them run.

        Raises BedError after ``timeout`` seconds.
        """

        def look() -> list[dict[str, Any]] | None:
            pods = [pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]
            up = len(pods) == count and all(pod["status"]["phase"] == "Running" for pod in pods)
            return pods if up else None

        pods = wait_for(look, f"{count} pods running", timeout, every=0.1)
        records = self.records()
        return [
            self._running(pod, records)
            for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))
        ]

    def ready(self, *names: str) -> list[Running]:
        """Return all pods of the test once these are Ready; they must be all of them."""
        pods = [f"pod/{name}" for name in names]
        self.bed.kubectl("wait", "--for=condition=Ready", *pods, "--timeout=60s", timeout=70)
        return self.running(len(names))

    def records(self) -> list[dict[str, Any]]:
        """Return the agents' records of all nodes."""
        look = f"for f in {SANDBOXES}/*.json; do [ -e $f ] && cat $f && echo; done; :"
        return [
            json.loads(line)
            for node in self.bed.nodes
            for line in node.sh(look).splitlines()
            if line
        ]

    def _running(self, pod: dict[str, Any], records: list[dict[str, Any]]) -> Running:
        # kubelet 1.20 may start a pod that was deleted by force once more, at the same time as the
        # next pod of that name.
        meta = pod["metadata"]
        uid = meta["annotations"].get("kubernetes.io/config.mirror", meta["uid"])
        mine = [record["attachment"] for record in records if record["attachment"]["uid"] == uid]
        newest = max(mine, key=lambda attachment: int(attachment["sequence"]))
        return Running(
            pod, newest["container_id"], newest["netns"], self.bed.space(pod["spec"]["nodeName"])
        )

    def annotate(self, name: str, **values: str) -> None:
        """Set annotations of our domain on a pod."""
        self.bed.kubectl(
            "annotate",
            "--overwrite",
            "pod",
            name,
            *(f"{OVN}/{key}={v}" for key, v in values.items()),
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the Events about an object."""
        listed = json.loads(
            self.bed.kubectl(
                "get", "events", f"--field-selector=involvedObject.name={name}", "-o", "json"
            )
        )
        return list(listed["items"])

    def clear(self) -> None:
        """Delete what was made, and return once the node too has nothing of it.

        By force: otherwise kubelet 1.20 keeps a pod until its containers are removed, and if it
        misses a container's end it removes it only in a round that it makes once a minute.
        """
        if self.made:
            self._delete(*self.made)
        wait_for(self._gone, "pods gone", timeout=200, every=0.1)
        wait_for(lambda: not self._left(), "records gone", timeout=90, every=0.1)

    def _gone(self) -> bool:
        """Return whether no pod is left, and delete by force those that are terminating."""
        pods = self.pods()
        if leaving := [
            pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]
        ]:
            self._delete(*(f"pod/{name}" for name in leaving))
        return not pods

    def _delete(self, *names: str) -> None:
        self.bed.kubectl(
            "delete", "--ignore-not-found", "--wait=false", "--force", "--grace-period=0", *names
        )

    def _left(self) -> list[str]:
        """Return the test's pods that still have a record.

        kubelet 1.20 may start a removed static pod once more, whose ADD then waits.
        """
        names = tuple(name.partition("/")[2] for name in self.made)
        pods = [str(record["attachment"]["pod"]) for record in self.records()]
        return [pod for pod in pods if names and pod.startswith(names)]
