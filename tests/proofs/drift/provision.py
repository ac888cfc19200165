"""Bring up the environment of a run, with all pods right before anything is broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from proofs.drift.environment import SENTINEL_POD, Environment
from proofs.drift.exec_client import ExecClient
from proofs.drift.gateway_facts import SUBNETS
from proofs.drift.pods import pod_body, target_of
from testbed import deploy, layout
from testbed.bed import Bed
from testbed.service import BedError, wait_for
from testbed.workloads import Cluster, subnet


@contextmanager
def provisioned(
    pods: int,
    evidence: Path,
    name: str | None = None,
    *,
    keep: bool = False,
    prepare: Callable[[Bed], None] = lambda _bed: None,
) -> Iterator[Environment]:
    """Run a test bed with this many pods, all right and reachable.

    One of them is the sentinel pod. ``prepare`` may change the bed before it has pods.

    ``keep`` leaves the bed up at the end. Raise BedError if a pod does not become reachable.
    """
    bed = Bed.up(name or f"drift-{os.getpid()}")
    try:
        deploy.apply(bed, agent=chassis_settings(bed))
        make_subnets(bed)
        prepare(bed)
        cluster = Cluster(bed)
        env = Environment(bed, ExecClient.start(bed, evidence), cluster, evidence)
        try:
            start_pods(env, pods)
            env.create_sentinels()
            env.facts()
            yield env
        finally:
            env.exec_agent.close()
    finally:
        if not keep:
            bed.down()


def chassis_settings(bed: Bed) -> dict[str, str]:
    """Return the addresses of OVN's database and of the tunnels as settings of the agent.

    With them, others in OVSDB are drift, and a wiped database gets them again: nobody else here
    knows them.
    """
    encap = bed.node().vsctl("get", "Open_vSwitch", ".", "external_ids:ovn-encap-ip")
    return {
        "OVNLET_OVN_REMOTE": f"ssl:{layout.CONTROL_IP}:{layout.SB_PORT}",
        "OVNLET_ENCAP_IP": encap.strip().strip('"'),
    }


def make_subnets(bed: Bed) -> None:
    """Make the Subnets that the node is a gateway for, and wait for the agent's table."""
    crd = deploy.PROJECT / "manifests" / "standalone" / "subnet.yaml"
    bed.kubectl("apply", "-f", str(crd))
    bed.kubectl("wait", "--for=condition=Established", "crd/subnets.kubeovn.io", "--timeout=30s")
    bodies = [subnet(name, spec["cidrBlock"], **spec) for name, spec in SUBNETS.items()]
    listed = {"apiVersion": "v1", "kind": "List", "items": bodies}
    bed.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
    table = ["nft", "list", "chain", "inet", "ovnlet", "policy-ovn-default"]
    wait_for(lambda: bed.node().result(table).returncode == 0, "the gateway's table", timeout=60)


def start_pods(env: Environment, pods: int) -> None:
    """Start all pods, and wait until they reach their gateways. Raise BedError if one does not."""
    names = [SENTINEL_POD, *(f"p{number:02d}" for number in range(1, pods))]
    env.cluster.apply(*(pod_body(name) for name in names))
    env.targets = [target_of(pod) for pod in env.cluster.running(pods, timeout=60 + 4 * pods)]
    if unreachable := env.traffic(env.targets, timeout=30):
        raise BedError(f"not reachable before anything was broken: {unreachable}")
    env.bed.say(f"{pods} pods run and reach their gateways")
