"""Write tests/kit/recorded/cluster.json: what the API server and the agents of two nodes answer.

The unit tests of the tools read it. ``managedFields``, half of the text, is left out.
"""

import json
from pathlib import Path
from typing import Any

from proofs.tools.faults import made
from proofs.tools.operator import Operator
from testbed import deploy
from testbed.service import wait_for
from testbed.workloads import PORT, Running

FILE = Path(__file__).parents[2] / "kit" / "recorded" / "cluster.json"
JSON = ("-o", "json")
# Those that the tools ask for, in the namespaces that have something of ours.
KINDS = ("pods", "services", "endpoints", "daemonsets", "deployments", "leases")
SPACES = ("default", deploy.NAMESPACE)


def run(ask: Operator) -> None:
    """Make two pods and two Services, and record."""
    with made(ask) as way:
        wait_for(lambda: way.trace()[0] == 0, "a sound way", timeout=60)
        whole = {
            "made_by": f"kube-apiserver {ask.bed.api.get('/version')['gitVersion']}",
            "objects": {kind: _listed(ask, kind) for kind in ("nodes", *KINDS)},
            "answers": {
                "n0": _answers(ask, way.sender, way.receiver),
                "n1": _answers(ask, way.receiver, way.sender),
            },
        }
    FILE.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    print(FILE)


def _listed(ask: Operator, kind: str) -> list[dict[str, Any]]:
    words = [["get", kind, *JSON]]
    if kind != "nodes":
        words = [["-n", space, *words[0]] for space in SPACES]
    items = [one for each in words for one in json.loads(ask.bed.kubectl(*each))["items"]]
    for one in items:
        one["metadata"].pop("managedFields", None)
    return items


def _answers(ask: Operator, own: Running, other: Running) -> list[dict[str, Any]]:
    """Return what each command prints on the node of a pod, the way to the other one included."""
    (agent,) = deploy.agent_pods(ask.bed, own.space.role)
    name, address = f"default/{own.name}", other.ips[0]
    to = ("hop", name, "--to", address, "--protocol", "tcp")
    calls: list[tuple[str, ...]] = [
        ("--version",),
        *((verb, *JSON) for verb in ("status", "pods", "plan", "events")),
        ("show", name, *JSON),
        (*to, "--port", str(PORT)),
        to,
        ("hop", name, "--port", str(PORT)),
    ]
    return [
        {
            "words": list(words),
            "code": 0,
            "stdout": ask.bed.kubectl(
                "-n", deploy.NAMESPACE, "exec", agent, "--", "ovnlet", *words
            ),
        }
        for words in calls
    ]
