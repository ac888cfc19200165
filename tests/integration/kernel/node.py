"""The agent, its pods and the runtime's calls on a node that is a guest.

It is the CNI floor's node, except that its programs run in the guest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.pods import Pod, Sandbox
from integration.cni.runtime import Outcome
from ovnlet_cni.errors import Code
from testbed import guest
from testbed.assign import DOMAIN
from testbed.bed import Bed
from testbed.service import Service
from testbed.virtual_node import START_TIMEOUT, VirtualNode

ADD_ATTEMPTS = 4


@dataclass(slots=True)
class GuestNode(AgentNode):
    """The node of the guest that runs now in the place of a bed's first node."""

    @classmethod
    def of(cls, bed: Bed) -> GuestNode:
        """Return the node of a bed whose guest has booted."""
        return cls(bed, bed.node(), guest.PROJECT / "cni" / "plugin" / "ovnlet")

    def start(
        self, *flags: str, killed_at: str = "", trace: str = "", turns: str = "", ready: bool = True
    ) -> Service:
        """Start the agent in the guest."""
        assert not killed_at, "an agent that kills itself is for the CNI floor"
        assert not trace + turns, "an agent that is traced or counted is for the CNI floor"
        log = self.space.log("agent")
        self._log_from = log.stat().st_size if log.exists() else 0
        words = [
            sys.executable,
            "-m",
            "ovnlet",
            "agent",
            f"--node-name={self.space.role}",
            "--resync=3600",
        ]
        words += [f"--kubeconfig={self.bed.inner_kubeconfig}", *flags]
        node = VirtualNode.of(self.space)
        self.agent = node.spawn("agent", words, env={"PYTHONPATH": guest.PYTHONPATH})
        if ready:
            self.wait_ready()
        return self.agent

    def wait_ready(self) -> None:
        """Wait until the agent's log says that it serves."""
        assert self.agent is not None
        self.agent.wait_ready(lambda: "serving" in self.logged(), timeout=START_TIMEOUT)

    async def add(self, sandbox: Sandbox) -> Outcome:
        """Call ADD as kubelet does, again while the answer is "try again".

        On a busy machine ovs-vswitchd can be slow in the guest.
        """
        for _ in range(ADD_ATTEMPTS):
            outcome = await self.call("ADD", sandbox)
            if outcome.exit_code == 0 or outcome.code != Code.TRY_AGAIN:
                break
        assert outcome.exit_code == 0, (outcome, self.logged()[-3000:])
        return outcome

    def make_limited(self, name: str, **limits: str) -> Pod:
        """Return a pod that has limits from its start."""
        pod = self.pod(name)
        if limits:
            self.limit(pod, **limits)
        return pod

    def limit(self, pod: Pod, **limits: str | None) -> None:
        """Set or remove limits of a pod by its annotations."""
        self.annotate(pod, {f"{DOMAIN}/{key}": value for key, value in limits.items()})

    async def until_run(
        self, argv: list[str], good: Callable[[str], bool], what: str, within: float = 60
    ) -> None:
        """Run a program again and again until its output is good."""

        async def look() -> bool:
            return good(await self.run(*argv))

        await until(look, what, within)

    async def measure(self, *words: str) -> dict[str, Any]:
        """Run one measurement of proofs.kernel.traffic and return its result."""
        argv = [sys.executable, "-m", "proofs.kernel.traffic", *words]
        return dict(json.loads(await self.run("env", f"PYTHONPATH={guest.PYTHONPATH}", *argv)))
