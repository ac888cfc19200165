"""A stand-in for Multus, which is packaged nowhere here: a CNI plugin that calls other plugins.

It follows the multi-network specification of the Network Plumbing Working Group (1.3, sections 4
to 8), as far as tests need it: a pod's default network, or one that the pod names in its place;
the networks that the pod lists, in all forms of the annotation; the annotation network-status; DEL
of each interface, in reverse order; and, as the dynamic networks controller does it, ADD and DEL
of what a running pod lists anew or no more. `testbed.meta_networks` puts it in front of a
node's own network configuration. kubelet and the runtime then call it for every pod.

Only the standard library is used: on the node it is a program,
`python -m testbed.meta_plugin [sync CONTAINER]`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from testbed.api import Api
from testbed.cni_runtime import Attachment, PluginFailed, Refused, Runtime

Json = dict[str, Any]
PLUGIN, CONFIG = "meta-stand-in", "/etc/cni/net.d/00-meta-stand-in.conf"
NETWORKS, STATUS = "k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/network-status"
DEFAULT = "v1.multus-cni.io/default-network"
DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/namespaces/{}/network-attachment-definitions/{}"
STATE = Path("/var/lib/meta-stand-in")
VERSIONS = ["0.3.1", "0.4.0", "1.0.0"]


class Container:
    """What is attached to one container, in order: kept in a file until all of it is deleted.

    Each entry has the network's ``list`` of plugins, the ``ifname``, the ``name`` in
    network-status, and the ``result``.
    """

    def __init__(self, container: str) -> None:
        self.path = STATE / f"{container}.json"
        try:
            body = json.loads(self.path.read_text())
        except FileNotFoundError:
            body = {"container": container, "netns": "", "args": "", "attached": []}
        self.body: Json = body

    def save(self) -> None:
        """Write the file, or remove it once nothing is attached."""
        STATE.mkdir(parents=True, exist_ok=True)
        if not self.body["attached"]:
            self.path.unlink(missing_ok=True)
            return
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.body))
        fresh.rename(self.path)

    @property
    def pod(self) -> tuple[str, str]:
        """Namespace and name, as the runtime gave them."""
        pairs = dict(each.partition("=")[::2] for each in self.body["args"].split(";"))
        return pairs["K8S_POD_NAMESPACE"], pairs["K8S_POD_NAME"]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other calls for this container away."""
        STATE.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            self.__init__(self.body["container"])  # type: ignore[misc]
            yield


def selections(text: str, namespace: str) -> list[Json]:
    """Return the networks of an annotation, each with namespace, name and interface if it has one.

    Section 4.1: a JSON list, or `<namespace>/<name>@<interface>` separated by commas.
    """
    if text.strip().startswith("["):
        return [{"namespace": namespace, **each} for each in json.loads(text)]
    found = []
    for item in filter(None, (each.strip() for each in text.split(","))):
        path, _, interface = item.partition("@")
        space, _, name = path.rpartition("/")
        found.append({"namespace": space or namespace, "name": name, "interface": interface})
    return found


class Meta:
    """The calls for one container."""

    def __init__(self, config: Json, path: str, container: Container) -> None:
        self._config, self._path, self._container = config, path, container
        self._api = Api(config["server"], Path(config["ca"]), config["token"])

    def add(self, ifname: str) -> Json:
        """Attach the default network, then the others. On a failure, undo what was attached."""
        pod = self._pod()
        try:
            first = self._attach(*self._first(pod), ifname)
            for name, network, interface in self._others(pod):
                self._attach(name, network, interface)
        except (PluginFailed, Refused, OSError, ValueError):
            self.delete()
            raise
        self._publish(ifname)
        return first

    def delete(self) -> None:
        """Detach everything in reverse order. Try all, then raise the first failure."""
        failures = []
        for entry in reversed(list(self._container.body["attached"])):
            try:
                self._detach(entry)
            except PluginFailed as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def check(self) -> None:
        """Check every interface."""
        for entry in self._container.body["attached"]:
            self._runtime(entry["list"]).check(self._attachment(entry["ifname"]))

    def sync(self) -> list[str]:
        """Detach what the pod lists no more, attach what it lists anew; return what was done."""
        wanted = {interface: (n, net) for n, net, interface in self._others(self._pod())}
        attached = self._container.body["attached"]
        first = attached[0]["ifname"]
        done = []
        for entry in [each for each in reversed(attached) if each["ifname"] != first]:
            if entry["ifname"] not in wanted:
                self._detach(entry)
                done.append(f"-{entry['ifname']}")
        known = {each["ifname"] for each in attached}
        for interface, (name, network) in wanted.items():
            if interface not in known:
                self._attach(name, network, interface)
                done.append(f"+{interface}")
        self._publish(first)
        return done

    def _pod(self) -> Json:
        namespace, name = self._container.pod
        return self._api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def _first(self, pod: Json) -> tuple[str, Json]:
        namespace, _ = self._container.pod
        text = pod["metadata"].get("annotations", {}).get(DEFAULT, "")
        for each in selections(text, namespace)[:1]:
            return self._network(each)
        network = json.loads(Path(self._config["clusterNetwork"]).read_text())
        return network["name"], network

    def _others(self, pod: Json) -> Iterator[tuple[str, Json, str]]:
        namespace, _ = self._container.pod
        text = pod["metadata"].get("annotations", {}).get(NETWORKS, "")
        for number, each in enumerate(selections(text, namespace), 1):
            yield (*self._network(each), each.get("interface") or f"net{number}")

    def _network(self, each: Json) -> tuple[str, Json]:
        """Return the name for network-status and the list of plugins of a definition."""
        found = self._api.get(DEFINITIONS.format(each["namespace"], each["name"]))
        config = json.loads(found["spec"]["config"])
        if "plugins" not in config:
            config = {
                "cniVersion": config.get("cniVersion", "0.3.1"),
                "name": config.get("name") or each["name"],
                "plugins": [config],
            }
        return f"{each['namespace']}/{each['name']}", config

    def _attach(self, name: str, network: Json, interface: str) -> Json:
        result: Json = {}
        entry = {"name": name, "list": network, "ifname": interface, "result": result}
        self._container.body["attached"].append(entry)
        self._container.save()  # a call that is killed is still deleted
        entry["result"] = result = self._runtime(network).add(self._attachment(interface))
        self._container.save()
        return result

    def _detach(self, entry: Json) -> None:
        self._runtime(entry["list"]).delete(self._attachment(entry["ifname"]))
        self._container.body["attached"].remove(entry)
        self._container.save()

    def _runtime(self, network: Json) -> Runtime:
        return Runtime(network, self._path, STATE / "results")

    def _attachment(self, interface: str) -> Attachment:
        body = self._container.body
        return Attachment(body["container"], body["netns"], interface, body["args"])

    def _publish(self, first: str) -> None:
        """Write network-status (section 5) by the pod's status, as kubelet's account may."""
        namespace, name = self._container.pod
        text = json.dumps([_status(e, first) for e in self._container.body["attached"]])
        body = {"metadata": {"annotations": {STATUS: text}}}
        self._api.patch(f"/api/v1/namespaces/{namespace}/pods/{name}/status", body)


def _status(entry: Json, first: str) -> Json:
    result = entry["result"]
    inside = [each for each in result.get("interfaces", []) if each.get("sandbox")]
    return {
        "name": entry["name"],
        "interface": entry["ifname"],
        "ips": [each["address"].partition("/")[0] for each in result.get("ips", [])],
        "mac": inside[0].get("mac", "") if inside else "",
        "default": entry["ifname"] == first,
        "dns": result.get("dns", {}),
    }


def called(config: Json) -> Json | None:
    """Carry out the call in the environment and return what to print."""
    verb = os.environ["CNI_COMMAND"]
    if verb == "VERSION":
        return {"cniVersion": "1.0.0", "supportedVersions": VERSIONS}
    container = Container(os.environ["CNI_CONTAINERID"])
    with container.locked():
        body = container.body
        if verb == "ADD":
            body["netns"], body["args"] = os.environ["CNI_NETNS"], os.environ["CNI_ARGS"]
        meta = Meta(config, os.environ["CNI_PATH"], container)
        actions: dict[str, Callable[[], Json | None]] = {
            "ADD": lambda: meta.add(os.environ["CNI_IFNAME"]),
            "DEL": meta.delete,
            "CHECK": meta.check,
        }
        return actions[verb]()


def main(words: list[str]) -> int:
    """Serve one call of a runtime, or `sync CONTAINER`. Print the result or the error object."""
    try:
        if words[:1] == ["sync"]:
            container = Container(words[1])
            with container.locked():
                config = json.loads(Path(CONFIG).read_text())
                print(json.dumps(Meta(config, "/opt/cni/bin", container).sync()))
            return 0
        answer = called(json.loads(sys.stdin.read() or "{}"))
    except PluginFailed as error:
        print(json.dumps({"cniVersion": "1.0.0", "code": 7, "msg": str(error), **error.error}))
        return 1
    except Exception as error:  # noqa: BLE001 - a runtime wants an error object whatever happens
        details = traceback.format_exc()
        shown = {"cniVersion": "1.0.0", "code": 999, "msg": repr(error), "details": details}
        print(json.dumps(shown))
        return 1
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
