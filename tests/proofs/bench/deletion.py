"""DELs whose logical port is gone already, as Kube-OVN's controller deletes it, against others.

The controller deletes a port as soon as its pod has a deletionTimestamp. ovn-controller then takes
`ovn-installed` back, and the agent begins to repair that before the DEL comes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.bench.environment import Environment, provisioned
from proofs.bench.implementations import AGENT, Plugin
from proofs.bench.measures import Measure, median
from proofs.bench.pods import NAMESPACE, SWITCH, Pod
from proofs.bench.rows import percentile
from testbed import progress

STAYS, VANISHES = "stays", "vanishes"
# Seconds: OVN's notice of the deletion, 0.3 s until the agent counts the port as lost, and a pass.
NOTICED = 0.7
MOST = 1.2
PROVIDERS = ("n1.bench.ovn", "n2.bench.ovn")


@dataclass(frozen=True, slots=True)
class Case:
    """DELs at once: of how many pods with how many interfaces, and how many rounds of them."""

    name: str
    pods: int
    interfaces: int
    rounds: int


CASES = (
    Case("1 at once", 1, 1, 20),
    Case("10 at once", 10, 1, 8),
    Case("50 at once", 50, 1, 4),
    Case("5 pods with three attachments", 5, 3, 8),
)


class Interface(Plugin):
    """The plugin for one interface of a pod, the first or one of a second network."""

    def __init__(self, plugin: Path, number: int) -> None:
        network: dict[str, Any] = {"name": "ovnlet", "type": "ovnlet"}
        if number:
            network = {**network, "name": f"n{number}", "provider": PROVIDERS[number - 1]}
        super().__init__(AGENT, plugin, network, in_ovn=True)
        self._ifname = f"net{number}" if number else "eth0"
        self._suffix = f".{network['provider']}" if number else ""

    def port(self, pod: Pod) -> str:
        """Return the name of the logical switch port."""
        return f"{pod.iface_id}{self._suffix}"

    def _env(self, verb: str, pod: Pod, sandbox: str) -> dict[str, str]:
        return {**super()._env(verb, pod, sandbox), "CNI_IFNAME": self._ifname}


class Deletion:
    """Attaches pods, deletes their logical ports or not, and measures their DELs."""

    def __init__(self, env: Environment, plugin: Path) -> None:
        self._env = env
        self.interfaces = [Interface(plugin, number) for number in range(3)]

    def prepare(self, pods: Sequence[Pod]) -> None:
        """Give the pods what their second and third interface need."""
        words: list[str] = []
        for number, provider in enumerate(PROVIDERS, 1):
            for pod in pods:
                words += self._add_port(self.interfaces[number], pod, number)
                facts = {
                    "ip_address": _address(pod, number),
                    "mac_address": _mac(pod, number),
                    "cidr": "10.16.0.0/16",
                    "logical_switch": SWITCH,
                    "allocated": "true",
                    "routed": "true",
                }
                body = {f"{provider}.kubernetes.io/{key}": value for key, value in facts.items()}
                path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}"
                self._env.bed.api.patch(path, {"metadata": {"annotations": body}})
        self._env.bed.nbctl(*words[1:])

    def measure(self, case: Case, which: str) -> list[float]:
        """Return how long each DEL of one round took, in ms."""
        env, interfaces = self._env, self.interfaces[: case.interfaces]
        # A second interface's link has eight characters of the container ID.
        chosen = [
            (pod, f"{next(env.sandboxes):08x}".ljust(64, "0")) for pod in env.pods[: case.pods]
        ]
        for each in interfaces:
            env.command(each.add(chosen))
        env.settle()
        if which == VANISHES:
            ports = [each.port(pod) for each in interfaces for pod, _ in chosen]
            env.bed.nbctl(*" -- ".join(f"lsp-del {port}" for port in ports).split())
        time.sleep(NOTICED)
        jobs = [job for each in interfaces for job in each.delete(chosen)["jobs"]]
        _, done = env.command({"kind": "run", "jobs": jobs})
        if which == VANISHES:
            words: list[str] = []
            for number, each in enumerate(interfaces):
                for pod, _ in chosen:
                    words += self._add_port(each, pod, number)
            env.bed.nbctl(*words[1:])
        env.settle()
        return [each.ms for each in done]

    @staticmethod
    def _add_port(interface: Interface, pod: Pod, number: int) -> list[str]:
        port = interface.port(pod)
        addresses = f"{_mac(pod, number)} {_address(pod, number)}"
        return ["--", "lsp-add", SWITCH, port, "--", "lsp-set-addresses", port, addresses]


def run(name: str, plugin: Path, seed: int) -> list[Measure]:
    """Measure all cases on a bed of their own, both kinds in random order. Return the rows."""
    measures = []
    with provisioned(name, max(case.pods for case in CASES), seed) as env:
        deletion = Deletion(env, plugin)
        deletion.prepare(env.pods[: max(case.pods for case in CASES if case.interfaces > 1)])
        for case in CASES:
            times: dict[str, list[float]] = {STAYS: [], VANISHES: []}
            with progress.step(f"DEL of {case.name}") as step:
                for number in range(-1, case.rounds):
                    step.note(f"round {number + 1} of {case.rounds}")
                    for which in env.random.sample([STAYS, VANISHES], 2):
                        taken = deletion.measure(case, which)
                        times[which] += taken if number >= 0 else []
            found = _rows(case, times)
            for each in found:
                progress.say(f"    {each}")
            measures += found
    return measures


def _rows(case: Case, times: dict[str, list[float]]) -> list[Measure]:
    title = f"DEL, port vanishes first: {case.name}"
    ratio = median(times[VANISHES]) / median(times[STAYS])
    rows = []
    for which, text in ((VANISHES, ""), (STAYS, ", the same whose port stays")):
        middle, last = median(times[which]), percentile(times[which], 0.99)
        rows.append(Measure(f"{title}{text}, median", round(middle, 2), "ms", None))
        rows.append(Measure(f"{title}{text}, p99", round(last, 2), "ms", None))
    return [*rows, Measure(f"{title}, ratio", round(ratio, 2), "times", MOST)]


def _address(pod: Pod, number: int) -> str:
    """Return the address of an interface: each has a range of its own."""
    first, second, third, last = pod.ip.split(".")
    return f"{first}.{second}.{int(third) + 16 * number}.{last}"


def _mac(pod: Pod, number: int) -> str:
    return f"{pod.mac[:9]}{number:02x}{pod.mac[11:]}"
