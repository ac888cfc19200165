"""`python -m proofs.dashboard`: build/dashboard.json, and the picture of docs/how-to/alerts.md.

Two nodes with agents and controllers are scraped while pods come and go and things break. Each
query of the dashboard is then asked. A row is ok if Prometheus answers, with data where there is
to be some.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import yaml

from kit.report import write_rows
from proofs.dashboard import panels, picture, work
from proofs.dashboard.panels import Panel, Series
from proofs.dashboard.prometheus import STEP, WINDOW, Prometheus
from testbed import deploy, layout
from testbed.bed import Bed
from testbed.service import wait_for
from testbed.tool_output import output
from testbed.workloads import Cluster, subnet

PICTURE = deploy.PROJECT / "docs/how-to/dashboard.svg"
RULES = deploy.PROJECT / "manifests/alerts/ovnlet.rules.yaml"
AGENT, CONTROLLER = 9441, 10661
# No part of an agent is to fail in this run, so this one is empty.
EMPTY = {"Parts of agents that fail"}


@dataclass(slots=True)
class Row:
    """One query of the dashboard. The fields are the columns of the file."""

    panel: str
    query: str
    series: dict[str, int] = field(default_factory=dict)  # each with its number of points
    ok: bool = False


def main() -> int:
    """Bring the cluster up, let it work, ask, and draw. Return 1 if a query has no answer."""
    name = os.environ.get("OVNLET_DASHBOARD_BED", "dashboard")
    if Bed.is_alive(name):  # left by a killed run
        Bed.attach(name).down()
    with Bed.up(name, nodes=2, parts=layout.STANDALONE) as bed:
        _install(bed)
        assert bed.control is not None
        server, cluster = Prometheus(bed.control), Cluster(bed)
        ips = [node.ip for node in bed.nodes]
        jobs = {"ovnlet": AGENT, "ovnlet-controller": CONTROLLER}
        targets = {job: [f"{ip}:{port}" for ip in ips] for job, port in jobs.items()}
        server.start(targets, RULES.read_text())
        alerts = [rule["alert"] for group in _rules() for rule in group["rules"]]
        assert server.loaded() == sorted(alerts)
        cluster.make_subnet(subnet("ovn-default", layout.PODS, default=True))
        since = time.time()
        work.run(bed, cluster)
        rows, answers = _ask(server, since, server.settled(2))
    write_rows("dashboard", rows)
    PICTURE.write_text(picture.svg(panels.read(), answers, _about()))
    for row in rows:
        print(f"{'ok ' if row.ok else 'BAD'} {row.panel}: {len(row.series)} series")
    return 0 if all(row.ok for row in rows) else 1


def _ask(
    server: Prometheus, since: float, until: float
) -> tuple[list[Row], dict[str, list[Series]]]:
    """Return a row for each query, and the series of each panel."""
    rows, answers = [], dict[str, list[Series]]()
    for panel in panels.read():
        for number, query in enumerate(panel.queries):
            row = Row(panel.title, query.expr)
            rows.append(row)
            series = server.answer(panel, number, since, until)
            row.series = {each.name: len(each.points) for each in series}
            row.ok = bool(series) or panel.title in EMPTY
            answers.setdefault(panel.title, []).extend(_from(series, since, panel))
    return rows, answers


def _from(series: list[Series], since: float, panel: Panel) -> list[Series]:
    """Return lines by seconds since the beginning; numbers as they are."""
    shift = 0.0 if panel.kind == "stat" else since
    return [
        Series(each.name, tuple((at - shift, value) for at, value in each.points))
        for each in series
    ]


def _install(bed: Bed) -> None:
    """Install agents and controllers with their metrics at the nodes' addresses."""
    home = deploy.overlay(bed, deploy.load(bed), of="standalone")
    path = home / "kustomization.yaml"
    body = json.loads(path.read_text())
    body["patches"] = [
        _patch("DaemonSet", "agent", "OVNLET_HTTP", AGENT),
        _patch("Deployment", "controller", "OVNLET_LISTEN", CONTROLLER),
    ]
    path.write_text(json.dumps(body))
    bed.kubectl("apply", "-k", str(home))
    wait_for(lambda: deploy.all_ready(bed), "nodes Ready", timeout=90, every=0.2)
    deploy.rolled_out(bed, deploy.DAEMONSET, deploy.CONTROLLER)


def _patch(kind: str, container: str, name: str, port: int) -> dict[str, Any]:
    env = [{"name": name, "value": f"0.0.0.0:{port}"}]
    spec = {"template": {"spec": {"containers": [{"name": container, "env": env}]}}}
    of = "ovnlet" if kind == "DaemonSet" else "ovnlet-controller"
    body = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": of}, "spec": spec}
    return {"target": {"kind": kind}, "patch": json.dumps(body)}


def _rules() -> list[dict[str, Any]]:
    return list(yaml.safe_load(RULES.read_text())["groups"])


def _about() -> str:
    found = output("prometheus", "--version").split()[2]
    return (
        f"Two nodes of the test bed for {work.SECONDS} s, scraped each second by Prometheus "
        f"{found}, ranges of {WINDOW} s, a point each {STEP} s: "
        "pods come and go, ports and routes are broken"
    )


if __name__ == "__main__":
    sys.exit(main())
