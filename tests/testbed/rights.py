"""The rights that each service account used, beside those that its roles grant: build/rbac.json.

What an account used is read from the API server's audit log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.bed import Bed

SYSTEM = "ovnlet-system"
AGENT, CONTROLLER = "ovnlet", "ovnlet-controller"
REPORT = Path(__file__).resolve().parents[2] / "build" / "rbac.json"
# Every authenticated account may ask what it may do: `ovnlet doctor` does.
OF_EVERY_ACCOUNT = frozenset({"create selfsubjectaccessreviews.authorization.k8s.io"})
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of an account, each a verb and a resource with its group.

    ``denied`` are those that it asked for and did not get.
    """

    account: str
    granted: frozenset[str]
    used: Counter[str]
    denied: Counter[str]

    @property
    def unused(self) -> list[str]:
        """Granted and never used."""
        return sorted(self.granted - self.used.keys())

    @property
    def excess(self) -> list[str]:
        """Asked for and not granted, whether it was denied or another role allowed it."""
        return sorted((self.used.keys() | self.denied.keys()) - self.granted)


def look(bed: Bed, account: str) -> Rights:
    """Return an account's rights, from the bed's roles and audit log."""
    used, denied = _asked(bed.audit_log, account)
    return Rights(account, granted(bed, account), used, denied)


def record(run: str, *found: Rights) -> None:
    """Write the rights to the report, beside those of other runs."""
    every = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    every[run] = {
        each.account: {
            "granted": sorted(each.granted),
            "used": dict(sorted(each.used.items())),
            "denied": dict(sorted(each.denied.items())),
            "granted and not used": each.unused,
            "used and not granted": each.excess,
        }
        for each in found
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(every, indent=1))


def granted(bed: Bed, account: str) -> frozenset[str]:
    """Return what the roles grant that are bound to the account by name."""
    kinds = "clusterroles,roles,clusterrolebindings,rolebindings"
    items = json.loads(bed.kubectl("get", kinds, "--all-namespaces", "-o", "json"))["items"]
    roles = {_name(item["kind"], item["metadata"]): item for item in items if "roleRef" not in item}
    found: set[str] = set()
    for binding in items:
        if _binds(binding, account):
            found |= set(
                _rules(
                    roles[
                        _name(binding["roleRef"]["kind"], binding["metadata"] | binding["roleRef"])
                    ]
                )
            )
    return frozenset(found)


def _name(kind: str, meta: Object) -> tuple[str, str, str]:
    """Return a role's identity; a cluster role that a namespace binds has no namespace."""
    return kind, "" if kind == "ClusterRole" else meta.get("namespace", ""), meta["name"]


def _binds(item: Object, account: str) -> bool:
    wanted = ("ServiceAccount", account, SYSTEM)
    subjects = item.get("subjects") or []
    return "roleRef" in item and any(
        (each["kind"], each["name"], each.get("namespace")) == wanted for each in subjects
    )


def _rules(role: Object) -> Iterator[str]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                yield from (_right(verb, resource, group) for verb in rule["verbs"])


def _right(verb: str, resource: str, group: str) -> str:
    return f"{verb} {'.'.join(filter(None, (resource, group)))}"


def _asked(log: Path, account: str) -> tuple[Counter[str], Counter[str]]:
    """Count the requests for resources that were allowed and denied; discovery requests none."""
    used, denied = Counter[str](), Counter[str]()
    with log.open() as file:
        for line in file:
            event = json.loads(line) if line.endswith("\n") else {}  # the last may be incomplete
            reference = event.get("objectRef") or {}
            if (
                "resource" not in reference
                or event["user"]["username"] != f"system:serviceaccount:{SYSTEM}:{account}"
            ):
                continue
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            right = _right(event["verb"], resource, reference.get("apiGroup", ""))
            if right not in OF_EVERY_ACCOUNT:
                allowed = event["annotations"]["authorization.k8s.io/decision"] == "allow"
                (used if allowed else denied)[right] += 1
    return used, denied
