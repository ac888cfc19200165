"""A Service by its name: DNS behind a UDP Service, and servers on both nodes."""

from __future__ import annotations

from typing import Any

from proofs.demo.report import Report
from proofs.demo.steps import tunnelled
from testbed import names
from testbed.service import wait_for
from testbed.workloads import PORT, Cluster

NAME, REQUESTS = "red", 20
CLIENT = "asks"
ASK = f"for i in $(seq {REQUESTS}); do wget -q -T 5 -O - http://{NAME}/index.html; done"


def by_name(report: Report, cluster: Cluster) -> None:
    """Make a Service for a Deployment and a DNS server for all Services, and ask by name."""
    with report.step(
        f"{REQUESTS} HTTP requests from a pod to http://{NAME}: DNS and servers behind Services"
    ) as step:
        bed, before = cluster.bed, tunnelled(cluster)
        cluster.apply(_service())
        names.start(cluster, "n1")
        cluster.apply(names.client(CLIENT, "n0", "sh", "-c", ASK))
        phase = ("get", "pod", CLIENT, "-o", "jsonpath={.status.phase}")
        wait_for(lambda: bed.kubectl(*phase) in ("Succeeded", "Failed"), f"the end of {CLIENT}", 40)
        answers = bed.kubectl("logs", CLIENT).split()
        step.check(answers == ["well"] * REQUESTS, f"answers: {answers}")
        step.record(bed.kubectl("get", "services,endpointslices"), bed.nbctl("lb-list"))
        step.measure("requests answered", len(answers))
        step.measure("packets through OVN's tunnel", tunnelled(cluster) - before)
        bed.kubectl("delete", "pod", CLIENT, names.SERVER, "--force", "--grace-period=0")


def _service() -> dict[str, Any]:
    spec = {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": spec}
