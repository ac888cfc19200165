"""Run the command line in a node's space, with the settings of the agent there."""

import os
import sys

from integration.cni.agent.inside import run
from integration.cni.agent.node import TESTS, AgentNode
from integration.cni.agent.pods import Sandbox
from integration.cni.runtime import Outcome
from kit import measured

BIN, CONF = "/opt/cni/bin", "/etc/cni/net.d"
# Runs a program in a terminal, and copies the terminal's output to standard output.
TERMINAL = (
    sys.executable,
    "-c",
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
)


async def ovnlet(
    node: AgentNode, command: str, *flags: str, through: tuple[str, ...] = ()
) -> Outcome:
    env = {
        "PYTHONPATH": f"{TESTS.parent / 'operator'}:{TESTS.parent / 'cni'}",
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        **measured.environment(),
    }
    places: list[str] = []
    if command in ("doctor", "uninstall", "bundle"):
        places = [f"--kubeconfig={node.bed.inner_kubeconfig}", f"--plugin={node.plugin}"]
        places.append(f"--node-name={node.space.role}")
        places += [f"--cni-bin-dir={BIN}", f"--cni-conf-dir={CONF}"]
    words = [*through, sys.executable, "-m", "ovnlet", command, *places, *flags]
    return await run(node.space.path("/"), words, env)


async def is_received(node: AgentNode, sandbox: Sandbox) -> bool:
    """Return whether the agent knows of an ADD. Nothing is on the node while it only waits."""
    shown = await ovnlet(node, "pods", "-o", "json")
    return sandbox.container_id[:12] in shown.stdout.decode()
