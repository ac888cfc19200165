"""`python -m proofs.migration`: kube-ovn-cni to ovnlet and back, into build/migration.json."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from proofs.gateway.cluster import OUTSIDE, Cluster, gateway
from proofs.gateway.conditions import node_ip
from proofs.gateway.pods import OVN, PLUGIN, PROJECT, Pod, attach, detach
from proofs.migration import kube_ovn, policy, power, traffic
from proofs.migration.traffic import Seen, Traffic
from testbed import progress
from testbed.inventory import Inventory, compare, inventory
from testbed.service import BedError, wait_for

BUILD = Path(__file__).resolve().parents[3] / "build"
PODS = dict.fromkeys(("a", "bb", policy.PROBED), "ovn-default")
PLACES = (
    f"--plugin={PLUGIN}",
    "--cni-bin-dir=/opt/cni/bin",
    "--cni-conf-dir=/etc/cni/net.d",
    f"--kube-ovn-socket={kube_ovn.SOCKET}",
)
# Seconds after its start at which the agent is killed, for it must end whole after its restart.
KILLED_AFTER = (0.8, 1.6)
ADOPTED_WITHIN = 60.0
# What a hand-back leaves as ovnlet has made it, and kube-ovn-cni never looks at: our marks on ports
# and links, and inside of a pod addresses and routes with our protocol, and the shaper.
STAYS = (
    r"^links: \S+: ifalias: ",
    r"^ovsdb: (Interface|Port) \S+: external_ids: .*ovnlet",
    r"^ovsdb: Interface \S+: external_ids: .*iface-id-ver",
    r"^ovsdb: (Port \S+: qos|QoS : (external_ids|queues)|Queue : external_ids): ",
    r"^addresses: \S+ \S+: (noprefixroute: null -> true|protocol: null -> 0x9d)$",
    r"^routes: .*dev eth0",
    r"^(qdiscs|links): .*(tbf|pfifo|htb)",
    r"^qdiscs: gone: eth0 noqueue",
)
Row = dict[str, Any]


def main() -> int:
    """Migrate forth and back, do it wrongly, and cut the power; return 0 if all rows are good."""
    args = _arguments()
    rows: list[Row] = []
    with gateway(PODS) as cluster, traffic.servers(cluster):
        cluster.flags = PLACES
        _limit(cluster)
        with progress.step("a node as kube-ovn-cni leaves it"):
            kube_ovn.take_place(cluster)
            policy.deny(cluster)
            wait_for(lambda: not _tentative(cluster), "duplicate address detection", every=0.1)
        if not args.only_power:
            rows += _forth_and_back(cluster)
        back = _words("uninstall", "--hand-back", *PLACES, "--node-name=n0")
        rows += power.rows(cluster, partial(_left, cluster), back, args.cuts)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "migration.json").write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        words = {key: text for key, text in row.items() if key not in ("step", "ok", "stays")}
        progress.say(f"{'   ' if row['ok'] else 'NOT'} {row['step']}: {words}")
    return 0 if all(row["ok"] for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proofs.migration", description=__doc__)
    parser.add_argument("--cuts", type=int, default=1, help="power cuts each way, %(default)s")
    parser.add_argument("--only-power", action="store_true", help="leave out all other rows")
    return parser.parse_args()


def _forth_and_back(cluster: Cluster) -> list[Row]:
    """Return rows of the migration under traffic, of the inventory after it, and of controls."""
    added: list[Row] = []
    before = _look(cluster)
    with progress.step("forth and back under traffic, killed twice on the way"):
        act = partial(_migrate, cluster, added)
        rows = _rows("forth and back", traffic.under(cluster, act)) + added
    rows += _differences(before, _look(cluster))
    with progress.step("controls: a take-over that makes ports again, or that cleans up first"):
        return rows + _controls(cluster)


def _limit(cluster: Cluster) -> None:
    """Give a pod limits, and wait for its rows."""
    facts = {f"{OVN}/{way}gress_rate": str(kube_ovn.RATE) for way in ("in", "e")}
    body = {"metadata": {"annotations": facts}}
    cluster.bed.api.patch("/api/v1/namespaces/default/pods/a", body)
    wait_for(lambda: "max-rate" in cluster.node.vsctl("list", "queue"), "the limits' rows")


def _rows(step: str, seen: list[Seen]) -> list[Row]:
    """Return a row for each stream."""
    return [{"step": step, **asdict(each), "ok": each.sent > 0 and not each.lost} for each in seen]


def _control(step: str, seen: list[Seen], loses: str) -> Row:
    """Return a row that is good if a stream whose name begins with ``loses`` has lost packets."""
    lost = {each.traffic: each.lost for each in seen if each.lost}
    broken = any(name.startswith(loses) for name in lost)
    return {"step": f"control: {step}", "traffic": loses, "lost": lost, "ok": broken}


def _migrate(cluster: Cluster, added: list[Row], running: Traffic) -> None:
    """Take over, killed on the way, and hand back. A pod comes meanwhile, and goes."""
    for after in KILLED_AFTER:
        cluster.launch()
        time.sleep(after)
        assert cluster.agent is not None
        cluster.agent.kill()
    cluster.launch()
    late = attach(cluster.bed, Pod("later", "ovn-default", cluster.node))
    for family, address in OUTSIDE.items():
        seen = late.sees(address)
        row = {"step": "ADD meanwhile", "traffic": f"IPv{family}", "seen": seen}
        added.append(row | {"ok": seen == node_ip(family)})
    detach(cluster.bed, late)
    left: list[str] = []

    def done() -> bool:
        left[:] = _left(cluster)
        return not left

    try:
        wait_for(done, "the take-over", timeout=ADOPTED_WITHIN, every=0.5)
    except BedError as error:
        raise BedError(f"{error}: {left}") from error
    running.wait_steady()
    cluster.kill()
    kube_ovn.start(cluster)
    places = (*PLACES, "--node-name=n0")
    print(_ovnlet(cluster, "uninstall", "--hand-back", *places))


def _left(cluster: Cluster) -> list[str]:
    """Return what is not taken over yet."""
    plan = _ovnlet(cluster, "plan").splitlines() + _ovnlet(cluster, "plan", "--node").splitlines()
    records = cluster.node.sh("ls /run/ovnlet/sandboxes")
    missing = [name for name, pod in cluster.pods.items() if pod.container[:12] not in records]
    chains = cluster.node.sh("nft list ruleset | grep -o 'chain OVN-[A-Z]*' || :").split()
    theirs = cluster.node.sh("iptables-save; ip6tables-save; ipset list -n")
    sets = re.findall(r"\bovn[46]0\S+", theirs)
    return [*plan, *missing, *chains, *sets]


def _ovnlet(cluster: Cluster, *words: str) -> str:
    return cluster.node.run(_words(*words))


def _words(*words: str) -> list[str]:
    """Return the command line that runs ovnlet from the sources."""
    paths = ":".join(str(PROJECT / each) for each in ("operator", "cni"))
    return ["env", f"PYTHONPATH={paths}", sys.executable, "-m", "ovnlet", *words]


def _tentative(cluster: Cluster) -> str:
    """Return the addresses of IPv6 that are not in use yet."""
    look = "ip -6 address show tentative"
    pods = [f"ip netns exec {pod.netns} {look}" for pod in cluster.pods.values()]
    return cluster.node.sh("; ".join([look, *pods]))


def _look(cluster: Cluster) -> dict[str, Inventory]:
    """Return the inventory of the node and of each pod."""
    found = {"node": inventory(cluster.node)}
    for name, pod in cluster.pods.items():
        words = pod.enter("env", f"PYTHONPATH={PROJECT / 'tests'}", sys.executable)
        text = cluster.node.run([*words, "-m", "testbed.inventory"])
        sections = ("links", "addresses", "routes", "rules", "qdiscs", "sysctls")
        found[name] = {key: json.loads(text)[key] for key in sections}
    return found


def _differences(before: dict[str, Inventory], after: dict[str, Inventory]) -> list[Row]:
    """Return a row for each place, with what is not as it was."""
    rows = []
    for place, old in before.items():
        found = compare(old, after[place])
        known = [line for line in found if any(re.search(each, line) for each in STAYS)]
        other = [line for line in found if line not in known]
        row = {"step": "inventory", "traffic": place, "different": other, "stays": known}
        rows.append(row | {"ok": not other})
    return rows


def _controls(cluster: Cluster) -> list[Row]:
    """Return rows of what a take-over must not do."""

    def other_source(_: Traffic) -> None:
        policy.speak_as_join(cluster)

    def ports_again(_: Traffic) -> None:
        kube_ovn.make_port_again(cluster, "a")

    def cleaned_first(_: Traffic) -> None:
        kube_ovn.clean_up(cluster)
        time.sleep(1)
        cluster.start()

    source = traffic.under(cluster, other_source, to_break=True)
    kube_ovn.start(cluster)
    again = traffic.under(cluster, ports_again, to_break=True)
    cleaned = traffic.under(cluster, cleaned_first, to_break=True)
    return [
        _control("the join address as source", source, "probes"),
        _control("ports are made again", again, "ping"),
        _control("cleaned up first", cleaned, "new connections"),
    ]


if __name__ == "__main__":
    sys.exit(main())
