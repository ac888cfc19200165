"""`ovnlet`'s own commands in the agents' containers, with their JSON."""

import json
from collections.abc import Sequence
from typing import Any

from ovnlet.cli.output import DIFFERENT, FAULTY
from ovnlet.cluster.access import Access, Agent
from ovnlet.cluster.options import Chosen
from ovnlet.core.errors import NotReady

# Seconds. A pass may take as long as an ADD.
_TIMEOUT = 150.0
# Codes of a command that has printed its answer: there is something to do, or a fault.
_ANSWERED = (0, DIFFERENT, FAULTY)


def ovnlet(access: Access, agent: Agent, *words: str, timeout: float = _TIMEOUT) -> Any:
    """Return the JSON that a command of `ovnlet` prints on a node. Raise NotReady if it fails."""
    return printed(access, agent, *words, "-o", "json", timeout=timeout)


def printed(access: Access, agent: Agent, *words: str, timeout: float = _TIMEOUT) -> Any:
    """Do the same for a command that prints nothing but JSON."""
    ran = access.run(agent, ["ovnlet", *words], timeout=timeout)
    if ran.code not in _ANSWERED or not ran.stdout:
        raise NotReady(ran.error)
    try:
        return json.loads(ran.stdout)
    except ValueError as error:
        raise NotReady(f"the answer of ovnlet {words[0]} is cut off") from error


def of_pods(found: Sequence[dict[str, Any]], wanted: "Wanted") -> list[dict[str, Any]]:
    """Return the entries of the pods that are wanted."""
    return [each for each in found if wanted.has(each["namespace"], each["pod"])]


class Wanted:
    """Which pods a command is about, and which nodes they are on."""

    def __init__(self, access: Access, chosen: Chosen) -> None:
        """Ask the API server for the pods, unless all are wanted."""
        self._all = chosen.everywhere and not chosen.selector
        namespace = "" if chosen.everywhere else chosen.namespace or access.here
        pods = [] if self._all else access.pods(namespace, chosen.selector)
        here = [each for each in pods if not each["spec"].get("hostNetwork")]
        self._pods = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in here}
        self._nodes = {each["spec"].get("nodeName") for each in here}

    def has(self, namespace: str, pod: str) -> bool:
        """Return whether a pod is wanted; what is of a node itself only along with all pods."""
        return self._all or (namespace, pod) in self._pods

    def on(self, agents: Sequence[Agent]) -> list[Agent]:
        """Return the agents that have to be asked."""
        return [each for each in agents if self._all or each.node in self._nodes]
