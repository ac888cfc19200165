"""Pods and Deployments of a test or the demo, and what is seen of them from outside: annotations, namespaces, pings."""

from __future__ import annotations

import json
import re
import signal
import tempfile
from dataclasses import dataclass, field
from typing import IO, Any

from testbed.bed import Bed
from testbed.service import wait_for
from testbed.space import Inside, Space

OVN = "ovn.kubernetes.io"
SANDBOXES = "/run/ovnlet/sandboxes"
IMAGE = "localhost/busybox:1"
PORT, HOST_PORT = 8080, 18080
SERVE = f"echo well >/tmp/index.html; httpd -p {PORT} -h /tmp; trap 'exit 0' TERM; sleep 2147483647 & wait"
SERVER = {
    "command": ["sh", "-c", SERVE],
    "readinessProbe": {"httpGet": {"port": PORT, "path": "/index.html"}, "periodSeconds": 1},
}


def pod_spec() -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}
    # A token is a volume, and kubelet takes seconds to unmount one.
    quick = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "dnsPolicy": "Default",
    }
    return {"containers": [container], **quick}


def pod(name: str, **annotations: str) -> dict[str, Any]:
    """Annotations are given by their full key."""
    meta = {"name": name, "labels": {"made-by": "test"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec()}


def web(name: str, node: str = "n0") -> dict[str, Any]:
    """A web server on that node, which is Ready by HTTP, alive by TCP and started by a command."""
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
    body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}}
    return {**body, "spec": {"cidrBlock": cidr, **spec}}


def deployment(name: str, replicas: int) -> dict[str, Any]:
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
    body = deployment(name, replicas)
    return body | {"kind": "StatefulSet", "spec": body["spec"] | {"serviceName": name}}


def web_deployment(name: str, replicas: int) -> dict[str, Any]:
    """Web servers, Ready by HTTP, as many on each node as on any other."""
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
    """A running pod: its object, and its sandbox as the record names it."""

    body: dict[str, Any]
    container_id: str
    netns: str
    space: Space

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def ips(self) -> list[str]:
        return str(self.body["metadata"]["annotations"][f"{OVN}/ip_address"]).split(",")

    @property
    def mac(self) -> str:
        return str(self.body["metadata"]["annotations"][f"{OVN}/mac_address"])

    @property
    def port(self) -> str:
        return f"{self.container_id[:12]}_h"

    def ip(self, *words: str) -> Any:
        """`ip -j` inside the pod."""
        text = self.space.run(["ip", "-n", self.netns.rpartition("/")[2], "-j", *words])
        return json.loads(text or "[]")

    def inside(self, *words: str) -> str:
        return self.space.run(["nsenter", f"--net={self.netns}", *words])

    def reaches(self, address: str) -> bool:
        words = ["nsenter", f"--net={self.netns}", "ping", "-c1", "-W0.3", address]
        return self.space.result(words).returncode == 0

    def ping(self, address: str) -> Ping:
        """One packet each 20 ms until it is stopped."""
        words = ["nsenter", f"--net={self.netns}", "ping", "-n", "-i", "0.02", address]
        said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the ping's own; a pipe would fill up
        return Ping(self.space.popen(words, stdout=said.fileno()), said)


@dataclass(frozen=True, slots=True)
class Ping:
    process: Inside
    said: IO[str]

    def stop(self) -> tuple[int, int]:
        """Packets sent and received. One that was sent last may still be under way: it is not counted."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=10)
        self.said.seek(0)
        text = self.said.read()
        self.said.close()
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)}
        found = re.search(r"(\d+) packets transmitted", text)
        assert found, text
        sent = max(int(found[1]) - 1, *answered, 0)
        if lost := sorted(set(range(1, sent + 1)) - answered):
            print(f"of {sent} packets these were lost: {lost}")
        return sent, len(answered)


@dataclass
class Cluster:
    """What a test makes in the cluster, by kubectl, and looks at on the nodes; `node` is the first."""

    bed: Bed
    made: list[str] = field(default_factory=list)

    @property
    def node(self) -> Space:
        return self.bed.node(0)

    def apply(self, *bodies: dict[str, Any]) -> None:
        self.made += [f"{body['kind'].lower()}/{body['metadata']['name']}" for body in bodies]
        self.bed.kubectl(
            "apply",
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}),
        )

    def make_subnet(self, body: dict[str, Any]) -> None:
        """Applied and Ready."""
        name = body["metadata"]["name"]
        self.bed.kubectl(
            "wait", "--for=condition=Established", "crd/subnets.kubeovn.io", "--timeout=30s"
        )
        self.bed.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        self.bed.kubectl("wait", "--for=condition=Ready", f"subnet/{name}", "--timeout=30s")

    def pods(self) -> list[dict[str, Any]]:
        listed = json.loads(self.bed.kubectl("get", "pods", "-l", "made-by=test", "-o", "json"))
        return list(listed["items"])

    def running(self, count: int, timeout: float = 60) -> list[Running]:
        """All pods of the test, once ``count`` of them run."""

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
        """All pods of the test, once these of them are Ready."""
        pods = [f"pod/{name}" for name in names]
        self.bed.kubectl("wait", "--for=condition=Ready", *pods, "--timeout=60s", timeout=70)
        return self.running(len(names))

    def records(self) -> list[dict[str, Any]]:
        """Of all nodes."""
        look = f"for f in {SANDBOXES}/*.json; do [ -e $f ] && cat $f && echo; done; :"
        return [
            json.loads(line)
            for node in self.bed.nodes
            for line in node.sh(look).splitlines()
            if line
        ]

    def _running(self, pod: dict[str, Any], records: list[dict[str, Any]]) -> Running:
        # kubelet 1.20 may start a pod that is deleted by force once more, beside one of the same name that follows it.
        meta = pod["metadata"]
        uid = meta["annotations"].get("kubernetes.io/config.mirror", meta["uid"])
        mine = [record["attachment"] for record in records if record["attachment"]["uid"] == uid]
        newest = max(mine, key=lambda attachment: int(attachment["sequence"]))
        return Running(
            pod, newest["container_id"], newest["netns"], self.bed.space(pod["spec"]["nodeName"])
        )

    def annotate(self, name: str, **values: str) -> None:
        self.bed.kubectl(
            "annotate",
            "--overwrite",
            "pod",
            name,
            *(f"{OVN}/{key}={v}" for key, v in values.items()),
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        listed = json.loads(
            self.bed.kubectl(
                "get", "events", f"--field-selector=involvedObject.name={name}", "-o", "json"
            )
        )
        return list(listed["items"])

    def clear(self) -> None:
        """Delete what was made, and see it gone from the node: not only from the API server.

        By force: else kubelet 1.20 keeps a pod until its containers are removed, and one that it missed as it ended
        it removes only in a round that it makes once a minute.
        """
        if self.made:
            self._delete(*self.made)
        wait_for(self._gone, "pods gone", timeout=200, every=0.1)
        wait_for(lambda: not self._left(), "records gone", timeout=90, every=0.1)

    def _gone(self) -> bool:
        """Whether no pod is left; those that a Deployment's end deletes are helped along."""
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
        """Records of pods of ours. kubelet 1.20 may start a removed static pod once more, and its ADD waits."""
        names = tuple(name.partition("/")[2] for name in self.made)
        pods = [str(record["attachment"]["pod"]) for record in self.records()]
        return [pod for pod in pods if names and pod.startswith(names)]
