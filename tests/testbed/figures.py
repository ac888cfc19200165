"""Figures as Prometheus reads them, and the labels that they may have: few, and none that a user makes."""

from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

from ovnlet.agent.metrics import VERBS
from ovnlet.core.resources import ORDER
from ovnlet.reconcile.stages import Stage
from ovnlet_cni.errors import Code

Values = dict[str, float]
CODES = frozenset({"0", *(str(int(code)) for code in Code)})
AGENT: Mapping[str, frozenset[str]] = {
    "verb": VERBS | {"other"},
    "code": CODES,
    "stage": frozenset(get_args(Stage)),
    "kind": frozenset(kind.__name__ for kind in ORDER),
    "outcome": frozenset({"attached", "updated", "repaired", "detached"}),
    "state": frozenset({"attached", "drifted", "not looked at yet"}),
}
CONTROLLER: Mapping[str, frozenset[str]] = {
    "kind": frozenset({"pod", "node", "subnet", "network", "Pod", "Node"}),
    "reason": frozenset(
        {"AddressTaken", "AnnotationRestored", "InvalidAnnotation", "NoSubnet", "SubnetFull"}
    ),
}


def values(text: str) -> Values:
    """Each series by its family's name, its own and its labels; when it began is left out."""
    return {
        f"{family.name} {sample.name} {sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def families(series: Iterable[str]) -> set[str]:
    return {key.partition(" ")[0] for key in series}


def moved(first: Values, now: Values) -> set[str]:
    """The families of which a series has changed, or has come and is not 0."""
    return families(key for key, value in now.items() if first.get(key, 0) != value)


def unbounded(text: str, allowed: Mapping[str, frozenset[str]]) -> list[str]:
    """Labels with a name or a value that the code does not list; a bucket's bound is the code's."""
    return sorted(
        f"{sample.name} {label}={value}"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for label, value in sample.labels.items()
        if label != "le" and value not in allowed.get(label, frozenset())
    )
