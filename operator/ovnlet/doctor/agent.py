"""Examines the running agent: whether it answers and serves, and what it reports about each pod."""

import stat
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ovnlet import client
from ovnlet.core.errors import NotReady
from ovnlet.core.settings import Settings
from ovnlet.doctor.findings import Finding, fault, note, ok
from ovnlet.doctor.kernel import install

# The STATUS request of the CNI specification 1.1, as a runtime sends it through the plugin.
_STATUS = {
    "env": {"CNI_COMMAND": "STATUS", "CNI_PATH": "/opt/cni/bin"},
    "config": '{"cniVersion": "1.1.0", "name": "doctor", "type": "ovnlet"}',
}


async def examine(settings: Settings) -> list[Finding]:
    """Ask the agent for its CNI status and its attachments.

    Waits up to 130 s for each answer. If no agent answers, that is the only finding.
    """
    socket = settings.cni_socket
    try:
        status, body = await client.ask(socket, "/cni", method="POST", body=_STATUS)
        _, attachments = await client.ask(socket, "/v1/attachments")
    except NotReady as error:
        fix = "kubectl -n ovnlet-system get pods -o wide; the log of the agent's pod says why"
        return [fault("agent", str(error), fix)]
    found = list(_safe(Path(socket)))
    if status == HTTPStatus.OK:
        found.append(ok("agent", f"serves {len(attachments)} attachments"))
    else:
        found.append(
            fault("agent", f"rejects new pods: {body['msg']}", body.get("details") or "see its log")
        )
    return [*found, *(finding for each in attachments for finding in _attachment(each))]


def _safe(socket: Path) -> Iterator[Finding]:
    """Report a directory of the socket that others than its owner can enter."""
    mode = stat.S_IMODE(socket.parent.stat().st_mode)
    if mode & 0o077:
        fix = f"chmod 700 {socket.parent}; the socket gives control over every pod's network"
        yield fault("agent", f"{socket.parent} is open to others (mode {mode:o})", fix)


def _attachment(each: dict[str, Any]) -> Iterator[Finding]:
    """Report the problems of one attachment, its drift, and what it waits for."""
    pod = f"{each['namespace']}/{each['pod']} {each['ifname']}"
    for problem in each["problems"]:
        # The status of an attachment says it in these words, with the names of kernel modules.
        _, lacking, kinds = problem.partition("not enforced: this node's kernel has no ")
        if lacking:
            fix = "; ".join(install(kind) for kind in kinds.split(" and no "))
            yield fault("limits", f"{pod}: {problem}", f"{fix}; or move the pod to another node")
        else:
            yield fault(
                "annotations",
                f"{pod}: {problem}",
                "correct the annotation; it takes effect at once",
            )
    if each["state"] == "drifted":
        yield fault("drift", f"{pod} is not as desired", f"ovnlet plan {client.named(each)}")
    elif each["state"].startswith("waiting"):
        yield note("agent", f"{pod} is {each['state']}")
