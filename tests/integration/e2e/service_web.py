"""A client, servers and Services of every kind on two nodes, and the report of who answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from integration.e2e.service_traffic import (
    PORT,
    Answers,
    answered,
    ask,
    endpoint_slice,
    labelled,
    service,
    serving,
)
from kit.report import read_rows, write_rows
from testbed.service import wait_for
from testbed.space import Space
from testbed.workloads import Cluster, Running

SUBNET = "ovn-default"
EXTERNAL, INGRESS = "192.0.2.50", "192.0.2.60"
REPORT = "services"


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the report: 200 requests of one client to one address."""

    case: str
    address: str
    protocol: str
    answers: Answers

    @property
    def ok(self) -> bool:
        return not self.answers.failed


@dataclass
class Web:
    """A client and a server on the first node, a server on the second, and their Services."""

    cluster: Cluster
    pods: dict[str, Running]
    cases: list[Case] = field(default_factory=list)

    @property
    def client(self) -> Running:
        return self.pods["client"]

    def spec(self, name: str) -> dict[str, Any]:
        found = json.loads(self.cluster.bed.kubectl("get", "service", name, "-o", "json"))
        return dict(found["spec"])

    def addresses(self, name: str) -> list[str]:
        """Return a Service's addresses, IPv4 first."""
        return list(self.spec(name)["clusterIPs"])

    def node_port(self, name: str) -> int:
        return int(self.spec(name)["ports"][0]["nodePort"])

    def await_both(self, address: str) -> None:
        """Wait until both servers answer at an address."""
        wait_for(
            lambda: len(ask(self.client, address, count=20, timeout=0.5).servers) == 2,
            f"both servers at {address}",
        )

    def note(self, case: str, address: str, protocol: str, answers: Answers) -> Answers:
        """Print a row and keep it for the report."""
        print(f"{case:<44} {protocol:<4} {address:<24} {answers}")
        self.cases.append(Case(case, address, protocol, answers))
        return answers

    def ask(self, case: str, client: Running | Space, host: str, **options: Any) -> Answers:
        """Send 200 requests, once the first is answered, and note the outcome."""
        answered(client, host, **options)
        kind = str(options.get("kind", "tcp"))
        return self.note(case, host, kind, ask(client, host, **options))


@contextmanager
def running(cluster: Cluster) -> Iterator[Web]:
    """Run all of it; write build/services.json and remove all of it afterwards."""
    patch_nat(cluster, nat=True)
    cluster.apply(
        labelled("client", "n0"),
        labelled("near", "n0", app="web", which="near"),
        labelled("far", "n1", app="web", which="far"),
        service("both", {"app": "web"}, type="NodePort"),
        service("near", {"which": "near"}, externalIPs=[EXTERNAL]),
        service("far", {"which": "far"}),
        # Kubernetes 1.20 refuses two protocols in a Service of this type.
        service("outer", {"which": "far"}, type="LoadBalancer", ports=[{"port": PORT}]),
        service("local", {"which": "far"}, type="NodePort", externalTrafficPolicy="Local"),
        service("none", {"which": "no-such-pod"}),
        service("sticky", {"app": "web"}, sessionAffinity="ClientIP"),
        service("sctp", {"which": "far"}, ports=[{"port": PORT, "protocol": "SCTP"}]),
        service("headless", {"app": "web"}, clusterIP="None"),
        service("hosts"),
        endpoint_slice("hosts-4", "hosts", [node.ip for node in cluster.bed.nodes]),
        endpoint_slice("hosts-6", "hosts", [node.ip6 for node in cluster.bed.nodes]),
    )
    web = Web(cluster, {each.name: each for each in cluster.running(3)})
    with serving(web.pods["near"], web.pods["far"], *cluster.bed.nodes):
        for address in web.addresses("both"):
            web.await_both(address)
        yield web
    kept = [
        row for row in read_rows(REPORT) if row["case"] not in {each.case for each in web.cases}
    ]
    write_rows(REPORT, [*kept, *({**asdict(each), "ok": each.ok} for each in web.cases)])
    cluster.clear()
    patch_nat(cluster, nat=False)


def patch_nat(cluster: Cluster, *, nat: bool) -> None:
    change = json.dumps({"spec": {"natOutgoing": nat}})
    cluster.bed.kubectl("patch", "subnet", SUBNET, "--type=merge", "-p", change)
