"""Pods of two VLANs on two nodes, their wait for an uplink, and what takes both away."""

from __future__ import annotations

import json
import re
import signal
import time
from functools import partial

from proofs.underlay.node import NETWORK, NIC
from proofs.underlay.pair import GATEWAYS, OUTSIDE, Pair, Sandbox, pair
from proofs.underlay.rows import Row, soon
from testbed import progress
from testbed.service import wait_for

# Seconds: a change of the cluster, and an ADD that cannot succeed: it gives up after four, and this
# machine may be busy.
WITHIN, TOLD_WITHIN = 60.0, 8.0


class Tried:
    """The rows of what was tried with two nodes."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.rows = pair, list[Row]()
        self._of_pod: dict[str, Row] = {}

    def joined(self) -> None:
        """Create the network: both nodes join, and its status says so. The control: none had."""
        row = self._row("two nodes join a network one after the other, by its status")
        row.control_broken = self.pair.status().get("ready") is not True
        together = set[str]()
        began = time.monotonic()
        self.pair.apply("ProviderNetwork", NETWORK, defaultInterface=NIC)

        def look() -> bool:
            together.add(",".join(self.pair.moving()))
            return self.pair.status().get("readyNodes") == ["n0", "n1"]

        row.ok = soon(look, "both nodes", WITHIN) and "n0,n1" not in together
        row.ok &= soon(self._is_lease_free, "both have had the Lease, and it is free", WITHIN)
        progress.say(f"    moves at once: {sorted(together)}, the Lease: {self.pair.turns()}")
        row.ok &= sorted(self.pair.status().get("vlans", ())) == ["v10", "v20"]
        row.seconds = round(time.monotonic() - began, 2)

    def waits(self) -> None:
        """Exclude a node: an ADD there names the network in time; on the other one it works."""
        row = self._row("a pod of an excluded node is refused and told")
        self.pair.apply("ProviderNetwork", NETWORK, defaultInterface=NIC, excludeNodes=["n1"])
        row.ok = self._ready("n0")
        lonely = self.pair.pod("lonely", 1, "shop")
        wait_for(partial(self._is_allocated, "lonely"), "annotations", WITHIN)
        _, told, row.seconds = self._refused(lonely)
        row.ok &= f"ProviderNetwork {NETWORK}" in told and row.seconds <= TOLD_WITHIN
        first = self.pair.attached("first", 0, "shop")
        row.control_broken = soon(partial(first.reaches, GATEWAYS[10]), "the gateway", 10)
        self.pair.apply("ProviderNetwork", NETWORK, defaultInterface=NIC)
        row.ok &= self._ready("n0", "n1")
        row.ok &= "ips" in self.pair.add(lonely)

    def _is_lease_free(self) -> bool:
        changes, holder = self.pair.turns()
        return changes >= 4 and not holder  # each node took it, and freed it

    def _row(self, name: str) -> Row:
        self.rows.append(Row(name))
        return self.rows[-1]

    def _ready(self, *nodes: str) -> bool:
        def look() -> bool:
            found = self.pair.status()
            return found.get("ready") is True and found.get("readyNodes") == list(nodes)

        return soon(look, f"{nodes} in the status", WITHIN)

    def _is_allocated(self, pod: str) -> bool:
        words = ("get", "pod", pod, "--output=jsonpath={.metadata.annotations}")
        return '"ovn.kubernetes.io/routed":"true"' in self.pair.bed.kubectl(*words).replace(" ", "")

    def traffic(self) -> None:
        """Reach each other, the gateways and the outside; the wire shows the VLAN's tag.

        The control is `lost_ports`.
        """
        for subnet, vlan in (("shop", 10), ("till", 20)):
            for node in (0, 1):
                self.pair.attached(f"{'ab'[node]}{vlan}", node, subnet)
        for pod in self.pair.pods:
            row = self._row(f"{pod.pod} on {pod.node.role}, {pod.vlan}: pods, gateways, outside")
            self._of_pod[pod.pod] = row
            began = time.monotonic()
            others = [each.address for each in self.pair.pods if each != pod]
            targets = [*others, *GATEWAYS.values(), OUTSIDE]
            missed = [each for each in targets if not soon(partial(pod.reaches, each), each, 10)]
            row.seconds = round(time.monotonic() - began, 2)
            seen = self._tags(pod)
            progress.say(f"    {pod.pod} {pod.address}: tags on the wire {sorted(seen)}")
            row.ok = not missed and seen == {str(pod.vlan)}

    def _tags(self, pod: Sandbox) -> set[str]:
        """Return the tags of the frames by which a pod reaches the outside, `none` without one."""
        listening = self.pair.trunk.listening(pod.node.role)
        assert listening.stderr is not None
        while "listening on" not in listening.stderr.readline():
            pass
        for _ in range(3):
            pod.reaches(OUTSIDE)
        time.sleep(0.5)
        listening.send_signal(signal.SIGINT)
        text, _ = listening.communicate(timeout=20)
        lines = [line for line in text.splitlines() if pod.address in line and OUTSIDE in line]
        tags = [re.search(r"vlan (\d+),", line) for line in lines]
        return {found[1] if found else "none" for found in tags}

    def _refused(self, sandbox: Sandbox) -> tuple[object, str, float]:
        """Attach a pod that is to be refused; return the code, what is said, and the seconds."""
        began = time.monotonic()
        answer = self.pair.add(sandbox)
        told = f"{answer.get('msg')} {answer.get('details')}"
        progress.say(f"    {told}")
        return answer.get("code"), told, round(time.monotonic() - began, 2)

    def duplicate(self) -> None:
        """Give a machine of the VLAN a pod's address: refused and told, until it is free.

        The control: an agent without the setting attaches such a pod.
        """
        row = self._row("a pod whose address a machine of its VLAN has is refused and told")
        taken, machine = "192.0.2.200", self.pair.trunk.space
        mac = machine.sh("cat /sys/class/net/gw10/address").strip()
        machine.sh(f"ip address add {taken}/24 dev gw10")
        self.pair.start_agent(0, "--arp-detect-ip-conflict=on")
        twin = self.pair.pod("twin", 0, "shop", taken)
        wait_for(partial(self._is_allocated, "twin"), "annotations", WITHIN)
        code, told, row.seconds = self._refused(twin)
        row.ok = f"{taken} is in use: {mac}" in told and code == 11
        row.ok &= soon(partial(self._is_told, "twin", mac), "the Event", WITHIN)
        machine.sh(f"ip address del {taken}/24 dev gw10")
        row.ok &= "ips" in self.pair.add(twin)
        self.pair.start_agent(0)
        machine.sh(f"ip address add {taken[:-1]}1/24 dev gw10")
        blind = self.pair.pod("blind", 0, "shop", f"{taken[:-1]}1")
        wait_for(partial(self._is_allocated, "blind"), "annotations", WITHIN)
        row.control_broken = "ips" in self.pair.add(blind)
        machine.sh(f"ip address del {taken[:-1]}1/24 dev gw10")

    def _is_told(self, pod: str, mac: str) -> bool:
        words = ("get", "events", f"--field-selector=involvedObject.name={pod}", "--output=json")
        found = json.loads(self.pair.bed.kubectl(*words))["items"]
        return any(each["reason"] == "AddressConflict" and mac in each["message"] for each in found)

    def lost_ports(self) -> None:
        """Delete OVN's localnet ports: lasting without the controller, and repaired by it."""
        row = self._row("localnet ports deleted")
        self.pair.stop_controller()
        for subnet in ("shop", "till"):
            self.pair.bed.nbctl("lsp-del", f"localnet.{subnet}")
        time.sleep(2)
        for pod in self.pair.pods:
            cut = not pod.reaches(OUTSIDE) and not pod.reaches(GATEWAYS[pod.vlan])
            self._of_pod[pod.pod].control_broken = cut
        row.control_broken = all(each.control_broken for each in self._of_pod.values())
        began = time.monotonic()
        self.pair.start_controller()
        again = [soon(partial(pod.reaches, OUTSIDE), pod.pod, WITHIN) for pod in self.pair.pods]
        row.ok = all(again)
        row.seconds = round(time.monotonic() - began, 2)

    def removed(self) -> None:
        """Uninstall one node and delete the network: both NICs have what they had.

        The control: the bridges had it, and without its agent a node keeps it there.
        """
        row = self._row("uninstall on one node, removal on the other: the NICs have what they had")
        row.control_broken = self.pair.inventory() != self.pair.before
        began = time.monotonic()
        progress.say(f"    {self.pair.uninstall(1)[-300:]}")
        self.pair.bed.kubectl("delete", "provider-networks.kubeovn.io", NETWORK)
        row.ok = soon(lambda: self.pair.inventory() == self.pair.before, "the NICs", WITHIN)
        row.seconds = round(time.monotonic() - began, 2)


def run(name: str) -> list[Row]:
    """Run all of it on a bed of that name, and return the rows."""
    with pair(name) as nodes:
        made = Tried(nodes)
        first = (made.joined, made.waits, made.traffic, made.duplicate)
        for what in (*first, made.lost_ports, made.removed):
            try:
                what()
            except Exception as error:  # noqa: BLE001 - a row that does not hold says so
                progress.say(f"    {what.__name__}: {error!r}")
            progress.say(f"    {what.__name__}: {made.rows[-1]}")
        if not all(row.ok and row.control_broken for row in made.rows):
            nodes.explain()
    return made.rows
