"""The implementations that are compared: what each needs to attach a pod, and how it is started."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from proofs.bench import pods
from proofs.bench.pods import Pod

MTU = "1400"
# Row names of build/bench.json.
AGENT, FLOOR, KUBE_OVN, REFERENCE = "ovnlet", "floor", "rival", "bridge"
# One process of the floor for all pods of a burst, as an agent is one.
ONE_FLOOR = "floor, one process"
BRIDGE_PLUGIN = Path("/usr/lib/cni/bridge")


class Implementation(Protocol):
    """One way to attach pods. `add` and `delete` return orders for the driver.

    Each pod comes with a sandbox, which is a new container ID for each ADD.
    """

    name: str
    in_ovn: bool

    @abstractmethod
    def add(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        """Return the order that attaches these pods."""

    @abstractmethod
    def delete(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        """Return the order that detaches these pods."""


def link(sandbox: str) -> str:
    """Return the name of the node's end of the veth pair, the same for all that make one."""
    return f"{sandbox[:12]}_h"


class Plugin(Implementation):
    """A CNI plugin, started as a runtime starts it."""

    def __init__(self, name: str, path: Path, config: dict[str, Any], *, in_ovn: bool) -> None:
        self.name, self.in_ovn = name, in_ovn
        self._path, self._config = path, json.dumps({"cniVersion": "1.0.0", **config})

    def add(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        return self._order("ADD", pods)

    def delete(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        return self._order("DEL", pods)

    def version(self) -> list[Any]:
        """Return the job that runs VERSION."""
        return [[str(self._path)], {"CNI_COMMAND": "VERSION"}, '{"cniVersion":"1.0.0"}']

    def _order(self, verb: str, those: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        return {
            "kind": "run",
            "jobs": [[[str(self._path)], self._env(verb, *each), self._config] for each in those],
        }

    def _env(self, verb: str, pod: Pod, sandbox: str) -> dict[str, str]:
        arguments = {
            "NAMESPACE": pods.NAMESPACE,
            "NAME": pod.name,
            "INFRA_CONTAINER_ID": sandbox,
            "UID": pod.uid,
        }
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": sandbox,
            "CNI_NETNS": pod.netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self._path.parent),
            "CNI_ARGS": ";".join(
                ["IgnoreUnknown=1", *(f"K8S_POD_{key}={value}" for key, value in arguments.items())]
            ),
        }


class Floor(Implementation):
    """tests/proofs/bench/floor.c. Its DEL also removes what `KubeOvn` attached."""

    name, in_ovn = FLOOR, True

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def add(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        words = ([self._path, "add", *self._facts(*each)] for each in pods)
        return {"kind": "run", "jobs": [[each, {}, ""] for each in words]}

    def delete(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        return {
            "kind": "run",
            "jobs": [[[self._path, "del", link(sandbox)], {}, ""] for _, sandbox in pods],
        }

    @staticmethod
    def _facts(pod: Pod, sandbox: str) -> list[str]:
        inner = [pod.netns, link(sandbox), "eth0", pod.mac, pod.address]
        return [*inner, pods.GATEWAY, MTU, pod.iface_id]


class OneFloor(Floor):
    """The same program, started once for all pods, so it has one transaction and one batch."""

    name = ONE_FLOOR

    def add(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        facts = [word for each in pods for word in self._facts(*each)]
        return {"kind": "shared", "jobs": [[[self._path, "add", *facts], {}, ""]]}

    def delete(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        links = [link(sandbox) for _, sandbox in pods]
        return {"kind": "shared", "jobs": [[[self._path, "del", *links], {}, ""]]}


class KubeOvn(Floor):
    """The calls of kube-ovn-cni, made by threads of the driver."""

    name, in_ovn = KUBE_OVN, True

    def add(self, pods: Sequence[tuple[Pod, str]]) -> dict[str, Any]:
        return {"kind": "kube-ovn", "jobs": [self._job(*each) for each in pods]}

    @staticmethod
    def _job(pod: Pod, sandbox: str) -> list[str]:
        return [pod.netns, link(sandbox), pod.mac, pod.address, pods.GATEWAY, MTU, pod.iface_id]


def all_implementations(plugin: Path, floor: Path) -> dict[str, Implementation]:
    """Return all implementations by name."""
    subnet = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.99.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    reference = {
        "name": "reference",
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipam": subnet,
    }
    all_of_them: list[Implementation] = [
        Plugin(AGENT, plugin, {"name": "ovnlet", "type": "ovnlet"}, in_ovn=True),
        Floor(floor),
        OneFloor(floor),
        KubeOvn(floor),
        Plugin(REFERENCE, BRIDGE_PLUGIN, reference, in_ovn=False),
    ]
    return {each.name: each for each in all_of_them}
