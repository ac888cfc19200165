"""The nodes of a cluster, the agent of each, and one question to many of them at once."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ovnlet.cli.progress import bar
from ovnlet.cluster.access import AGENT, Access, Agent, Missing
from ovnlet.core.errors import NotReady

_LABEL = "app.kubernetes.io/name"
# Connections at once. Each costs the API server and this machine a TLS handshake.
_AT_ONCE = 32
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answers(Generic[_T]):
    """What each node answered, and why others did not. Both are sorted by node."""

    given: dict[str, _T]
    failed: dict[str, str]

    def errors(self) -> list[dict[str, str]]:
        """Return the failures as JSON shows them."""
        return [{"node": node, "error": why} for node, why in self.failed.items()]


def agents(access: Access, selector: str = "") -> list[Agent]:
    """Return the agent of each node that should have one, sorted by node.

    These are the nodes that the DaemonSet's nodeSelector and ``selector`` name, and whatever else
    an agent runs on. Raise NotReady if the cluster has no ovnlet.
    """
    try:
        daemons = access.read("AppsV1Api", "read_namespaced_daemon_set", AGENT, access.namespace)
    except Missing as error:
        raise NotReady(f"no DaemonSet {AGENT} in {access.namespace}: is it installed?") from error
    wanted = daemons["spec"]["template"]["spec"].get("nodeSelector") or {}
    nodes = access.read("CoreV1Api", "list_node", label_selector=selector)["items"]
    pods = {
        str(pod["spec"].get("nodeName")): pod
        for pod in access.pods(access.namespace, f"{_LABEL}={AGENT}")
        if not pod["metadata"].get("deletionTimestamp")
    }
    names = {
        node["metadata"]["name"]: node
        for node in nodes
        if node["metadata"]["name"] in pods or _has(node, wanted)
    }
    return [_agent(name, node, pods.get(name)) for name, node in sorted(names.items())]


def _has(node: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return labels.items() <= (node["metadata"].get("labels") or {}).items()


def _agent(name: str, node: Mapping[str, Any], pod: Mapping[str, Any] | None) -> Agent:
    """Return the agent of a node, with the first reason found why the node is not ready."""
    if pod is None:
        return Agent(name, why="no agent runs there")
    ready = _condition(pod, "Ready").get("status") == "True"
    why = "" if ready else waiting(pod)
    return Agent(name, pod["metadata"]["name"], ready, why or _unready(node))


def waiting(pod: Mapping[str, Any]) -> str:
    """Return why a pod is not ready: its container's reason, else its phase."""
    status = pod["status"]
    for container in status.get("containerStatuses") or []:
        for state in (container.get("state") or {}).values():
            if state and state.get("reason"):
                return f"the agent's pod: {state['reason']} {state.get('message', '')}".strip()
    return f"the agent's pod is not ready, phase {status.get('phase')}"


def _unready(node: Mapping[str, Any]) -> str:
    """Return why a Node is not ready, or that its network is not; empty if both are."""
    ready, network = _condition(node, "Ready"), _condition(node, "NetworkUnavailable")
    if network.get("status") == "True":
        return f"NetworkUnavailable: {network.get('message') or network.get('reason')}"
    if ready.get("status") != "True":
        return f"NotReady: {ready.get('message') or ready.get('reason') or 'no condition'}"
    return ""


def _condition(thing: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = thing["status"].get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


def each(chosen: Iterable[Agent], question: Callable[[Agent], _T], title: str) -> Answers[_T]:
    """Ask all agents at once; on a terminal a bar shows how many have answered."""
    agents_ = list(chosen)
    given: dict[str, _T] = {}
    failed: dict[str, str] = {}
    with bar(title, len(agents_)) as count, ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {pool.submit(question, agent): agent for agent in agents_}
        for done in as_completed(asked):
            try:
                given[asked[done].node] = done.result()
            except NotReady as error:
                failed[asked[done].node] = str(error)
            count()
    return Answers(dict(sorted(given.items())), dict(sorted(failed.items())))
