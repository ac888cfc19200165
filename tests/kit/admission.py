"""A ValidatingAdmissionPolicy of the manifests, evaluated by a CEL library as the API server does.

First the match conditions, then the variables in order, then the validations.
"""

from pathlib import Path
from typing import Any

import cel
import yaml

Object = dict[str, Any]


class Policy:
    """A policy with its binding. ``resource`` is the plural that requests are about."""

    def __init__(self, path: Path) -> None:
        policy, binding = (body for body in yaml.safe_load_all(path.read_text()) if body)
        assert binding["spec"]["policyName"] == policy["metadata"]["name"]
        self._spec = policy["spec"]
        (rule,) = self._spec["matchConstraints"]["resourceRules"]
        self.resources = set(rule["resources"])

    def allows(
        self,
        before: Object,
        after: Object,
        user: str = "eve",
        *groups: str,
        extra: dict[str, list[str]] | None = None,
        resource: str = "pods",
    ) -> bool:
        """Return whether the user may make ``after`` of ``before``."""
        who: Object = {"username": user, "groups": ["system:authenticated", *groups]}
        if extra is not None:
            who["extra"] = extra
        request = {
            "userInfo": who,
            "name": before["metadata"]["name"],
            "resource": {"group": "", "version": "v1", "resource": resource},
        }
        scope: Object = {
            "request": request,
            "oldObject": before,
            "object": after,
            "variables": {},
        }
        if not all(_true(each["expression"], scope) for each in self._spec["matchConditions"]):
            return True
        for each in self._spec["variables"]:
            scope["variables"][each["name"]] = cel.evaluate(each["expression"], scope)
        return all(_true(each["expression"], scope) for each in self._spec["validations"])


def _true(expression: str, scope: Object) -> bool:
    """Return what an expression yields; anything but a bool is an error in the policy."""
    answer = cel.evaluate(expression, scope)
    assert isinstance(answer, bool), expression
    return answer
