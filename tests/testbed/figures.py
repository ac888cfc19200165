"""Metrics as Prometheus reads them, and the labels that they may have.

There are few label values, and none that a user makes.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from platform import python_version
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

from ovnlet.agent.metrics import VERBS
from ovnlet.core.resources import ORDER
from ovnlet.reconcile.budget import Reason
from ovnlet.reconcile.stages import Stage
from ovnlet_cni.errors import Code

Values = dict[str, float]
PROGRAM: dict[str, frozenset[str]] = {
    "version": frozenset({version("ovnlet")}),
    "python": frozenset({python_version()}),
    "method": frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"}),
    "status": frozenset(map(str, (0, *HTTPStatus))),
}
CODES = frozenset({"0", *(str(int(code)) for code in Code)})
AGENT: Mapping[str, frozenset[str]] = PROGRAM | {
    "class": frozenset({"event", "resync"}),
    "verb": VERBS | {"other"},
    "code": CODES,
    "stage": frozenset(get_args(Stage)),
    "kind": frozenset(kind.__name__ for kind in ORDER),
    "outcome": frozenset({"attached", "updated", "repaired", "detached"}),
    "state": frozenset({"attached", "drifted", "not looked at yet"}),
    "scope": frozenset({"pod", "node", "gateway", "provider", "chassis", "encap", "flows", "cni"}),
    "reason": frozenset(get_args(Reason)),
    "part": frozenset(
        {
            *("ovsdb", "kernel watch", "start-up and resync", "watch of the API server"),
            *("list of pods", "list of nodes", "list of subnets", "list of services"),
            *("list of provider-networks", "list of vlans", "provider networks"),
            *("rows of uplinks", "uplinks", "labels of provider networks"),
            *("health checks", "flow checks", "IP objects"),
            *("looks at iptables-legacy", "probes of other VPCs"),
            *(
                "CNI socket",
                "Events",
                "traces",
                "probes",
                "probes at kube-ovn-cni's port",
                "file watch",
            ),
            *("Node condition", "Node annotation", "prefixes", "gateway"),
        }
    ),
}
CONTROLLER: Mapping[str, frozenset[str]] = PROGRAM | {
    "kind": frozenset({"pod", "node", "subnet", "network", "pools", "service", "Pod", "Node"}),
    "reason": frozenset(
        {
            *("AddressTaken", "AnnotationRestored", "InvalidAnnotation"),
            *("NameTaken", "NoSubnet", "SubnetFull"),
        }
    ),
}


def values(text: str) -> Values:
    """Return each series by its family's name, its own name and its labels, without `_created`."""
    return {
        f"{family.name} {sample.name} {sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def families(series: Iterable[str]) -> set[str]:
    """Return the families of these series."""
    return {key.partition(" ")[0] for key in series}


def moved(first: Values, now: Values) -> set[str]:
    """Return the families with a series that has changed, or has appeared and is not 0."""
    return families(key for key, value in now.items() if first.get(key, 0) != value)


def unbounded(text: str, allowed: Mapping[str, frozenset[str]]) -> list[str]:
    """Return the labels with a name or value that the code does not list.

    A bucket's bound is in the code.
    """
    return sorted(
        f"{sample.name} {label}={value}"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for label, value in sample.labels.items()
        if label != "le" and value not in allowed.get(label, frozenset())
    )
