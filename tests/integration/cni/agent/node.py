"""A real agent on a node of a bed, its pods, and the built plugin before it. No kubelet."""

import asyncio
import contextlib
import json
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from integration.cni.agent.api import Api
from integration.cni.agent.inside import InsideRuntime, run
from integration.cni.agent.pods import Pod, Sandbox
from integration.cni.runtime import Json, Outcome
from kit import measured
from kit.turns import OUTPUT
from testbed import exec_agent
from testbed.assign import SWITCH
from testbed.bed import Bed
from testbed.inventory import Inventory, compare
from testbed.node import Node
from testbed.service import Service
from testbed.space import Space

TESTS = Path(__file__).resolve().parents[3]
SOCKET = "/run/ovnlet/cni.sock"
OWN = (
    "/run/ovnlet",
    SOCKET,
    "/run/ovnlet/sandboxes",
    "/run/ovnlet/deleted",
    "/run/ovnlet/chassis.json",
    "/run/ovnlet/encap.json",
)
_NUMBERS = count(2)
_SANDBOXES = count(1)


@dataclass(slots=True)
class AgentNode:
    """A node with an agent. `forget` ends the agent and removes what the test created."""

    bed: Bed
    space: Node
    plugin: Path
    api: Api = field(init=False)
    runtime: InsideRuntime = field(init=False)
    agent: Service | None = None
    pods: list[Pod] = field(default_factory=list)
    sandboxes: list[Sandbox] = field(default_factory=list)
    _log_from: int = 0

    def __post_init__(self) -> None:
        self.api = Api(self.bed)
        self.runtime = InsideRuntime(
            self.plugin, Path(SOCKET), "/nonexistent", self.space.path("/")
        )

    # ---- the agent

    def start(
        self, *flags: str, killed_at: str = "", trace: str = "", turns: str = "", ready: bool = True
    ) -> Service:
        """Start an agent; with `killed_at`, `trace` or `turns` one of a module of the tests."""
        log = self.space.log("agent")
        self._log_from = log.stat().st_size if log.exists() else 0
        module = "killing" if killed_at else "tracing" if trace else ""
        module = f"integration.cni.agent.{module}" if module else "kit.turns" if turns else "ovnlet"
        paths = [TESTS.parent / "operator", TESTS.parent / "cni", TESTS]
        env = {"PYTHONPATH": ":".join(map(str, paths)), "OVNLET_KILLED_AT": killed_at}
        env |= {"OVNLET_TRACE": trace} if trace else {OUTPUT: turns, **measured.environment()}
        words = [sys.executable, "-m", module, "agent", f"--node-name={self.space.role}"]
        words += ["--resync=3600", f"--kubeconfig={self.bed.inner_kubeconfig}", *flags]
        self.agent = self.space.spawn("agent", words, env=env)
        if ready:
            self.wait_ready()
        return self.agent

    def wait_ready(self) -> None:
        assert self.agent is not None
        self.agent.wait_ready(lambda: "serving" in self.logged(), timeout=60)

    def kill(self) -> None:
        """Send SIGKILL to the agent, and wait for its end."""
        if self.agent is not None:
            self.agent.stop(signal.SIGKILL)
            self.agent = None

    def logged(self) -> str:
        """Return the log of the current agent."""
        with self.space.log("agent").open() as file:
            file.seek(self._log_from)
            return file.read()

    # ---- pods and sandboxes

    def pod(self, name: str = "", *, annotated: bool = True, port: bool = True) -> Pod:
        (pod,) = self.make_pods([name], annotated=annotated, port=port)
        return pod

    def make_pods(
        self, names: list[str], *, annotated: bool = True, port: bool = True
    ) -> list[Pod]:
        """Create pods in the API and, with `port`, their ports in OVN."""
        pods = []
        for name in names:
            number = next(_NUMBERS)
            meta: dict[str, Any] = {"name": name or f"p{number}"}
            draft = Pod(meta["name"], "", number)
            meta["annotations"] = draft.annotations if annotated else {}
            spec = {"nodeName": self.space.role, "containers": [{"name": "c", "image": "x"}]}
            made = self.api.create({"metadata": meta, "spec": spec})
            pods.append(Pod(draft.name, made["metadata"]["uid"], number))
        if port:
            self.make_ports(pods)
        self.pods += pods
        return pods

    def make_ports(self, pods: list[Pod]) -> None:
        words = []
        for pod in pods:
            words += ["--", "--may-exist", "lsp-add", SWITCH, pod.port]
            words += ["--", "lsp-set-addresses", pod.port, f"{pod.mac} {pod.v4} {pod.v6}"]
        self.bed.nbctl(*words[1:])

    def annotate(self, pod: Pod, annotations: Mapping[str, str | None]) -> None:
        self.api.annotate(pod.name, pod.uid, annotations)

    def delete_pod(self, pod: Pod) -> None:
        self.api.delete(pod.name)
        self.pods.remove(pod)

    async def sandbox(self, pod: Pod | None = None) -> Sandbox:
        (sandbox,) = await self.make_sandboxes([pod or self.pod()])
        return sandbox

    async def make_sandboxes(self, pods: list[Pod]) -> list[Sandbox]:
        """Create a namespace for each pod, named by a container ID of 64 hexadecimal digits."""
        made = [Sandbox(pod, f"{next(_SANDBOXES):012x}{uuid.uuid4().hex}{0:020x}") for pod in pods]
        await self.sh("".join(f"ip netns add {each.container_id}\n" for each in made))
        self.sandboxes += made
        return made

    async def announces(self, sandboxes: list[Sandbox]) -> bool:
        """Return whether a packet socket is open in one of these sandboxes."""
        spaces = " ".join(each.container_id for each in sandboxes)
        read = f"for s in {spaces}; do ip netns exec $s tail -n +2 /proc/net/packet; done"
        return bool((await self.sh(read)).strip())

    async def suspend(self, ending: list[Sandbox]) -> None:
        """Stop the agent by SIGSTOP when no socket of it keeps a namespace alive that is to end."""

        async def has_none() -> bool:
            return not await self.announces(ending)

        assert self.agent is not None
        while True:
            await until(has_none, "the announcements to end")
            self.agent.send(signal.SIGSTOP)
            if await has_none():
                return
            self.agent.send(signal.SIGCONT)

    async def end_sandboxes(self, sandboxes: list[Sandbox]) -> None:
        """Delete the namespaces, as when the pause process ends; Linux deletes links later."""
        wait = "timeout 60 sh -c 'while ip link show {}; do sleep 0.05; done' >/dev/null 2>&1\n"
        ends = [f"ip netns del {each.container_id}\n" for each in sandboxes]
        await self.sh("".join(ends + [wait.format(each.link) for each in sandboxes]))
        self.sandboxes = [each for each in self.sandboxes if each not in sandboxes]

    # ---- the runtime's calls

    async def call(
        self, verb: str, sandbox: Sandbox, config: Json | None = None, **env: str | None
    ) -> Outcome:
        return await self.runtime.call(verb, config, self.runtime.env(verb, **(sandbox.env | env)))

    async def add(self, sandbox: Sandbox) -> Outcome:
        outcome = await self.call("ADD", sandbox)
        assert outcome.exit_code == 0, (outcome, self.logged()[-3000:])
        return outcome

    async def delete(self, sandbox: Sandbox, **env: str | None) -> Outcome:
        outcome = await self.call("DEL", sandbox, None, **env)
        assert outcome.exit_code == 0, (outcome, self.logged()[-3000:])
        return outcome

    async def check(self, sandbox: Sandbox, result: Json) -> Outcome:
        return await self.call("CHECK", sandbox, self.runtime.config(prevResult=result))

    async def status(self) -> Outcome:
        return await self.runtime.call("STATUS")

    async def gc(self, *valid: Sandbox) -> Outcome:
        listed = [{"containerID": each.container_id, "ifname": "eth0"} for each in valid]
        keys: Json = {"cni.dev/valid-attachments": listed}
        return await self.runtime.call("GC", self.runtime.config(**keys))

    # ---- foreign changes and observations

    async def run(self, *argv: str) -> str:
        outcome = await run(
            self.space.path("/"), list(argv), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        )
        assert outcome.exit_code == 0, (argv, outcome)
        return outcome.stdout.decode()

    async def sh(self, script: str) -> str:
        return await self.run("sh", "-euc", script)

    async def inside(self, sandbox: Sandbox, *argv: str) -> str:
        return await self.run("ip", "netns", "exec", sandbox.container_id, *argv)

    async def iface_id(self, sandbox: Sandbox) -> str:
        """Return the iface-id of the host end in OVSDB, or an empty string without a row."""
        words = [
            "ovs-vsctl",
            "--if-exists",
            "get",
            "Interface",
            sandbox.link,
            "external_ids:iface-id",
        ]
        return (await self.run(*words)).strip().strip('"')

    async def addresses(self, sandbox: Sandbox) -> set[str]:
        rows = json.loads(await self.inside(sandbox, "ip", "-j", "address", "show", "dev", "eth0"))
        return {
            info["local"]
            for row in rows
            for info in row.get("addr_info", [])
            if info["scope"] == "global"
        }

    async def look(self) -> Inventory:
        """Return the node's inventory, without the agent's own socket and directories."""
        seen = await exec_agent.ask(self.space.path("/"), {})
        seen["files"] = {path: facts for path, facts in seen["files"].items() if path not in OWN}
        kind, pairs = seen["ovsdb"]["Bridge br-int"]["external_ids"]
        # ovn-controller's own keys; it keeps those of a switch whose last port is gone.
        seen["ovsdb"]["Bridge br-int"]["external_ids"] = [
            kind,
            [p for p in pairs if not p[0].startswith("ct-zone-")],
        ]
        return seen

    async def same(self, before: Inventory, within: float = 10) -> None:
        """Wait until the inventory equals `before`. OVS and OVN remove a port with a delay."""
        begun = time.monotonic()
        while lines := compare(before, await self.look()):
            assert time.monotonic() - begun < within, "\n".join([*lines, self.logged()[-3000:]])
            await asyncio.sleep(0.1)

    @contextlib.contextmanager
    def stopped(self, service: str, space: Space | None = None) -> Iterator[None]:
        """Stop a daemon by SIGSTOP for the block."""
        held = (space or self.space).service(service)
        held.send(signal.SIGSTOP)
        try:
            yield
        finally:
            held.send(signal.SIGCONT)

    async def forget(self) -> None:
        """Restore the node to its state before the test."""
        if self.agent is None and not self.sandboxes and not self.pods:
            return
        if self.agent is not None and measured.environment():
            self.agent.stop()  # by SIGTERM: a SIGKILL loses what coverage measured
        self.kill()
        await self.sh(
            "for space in $(ip netns list | cut -d' ' -f1); do ip netns del $space || :; done\n"
            "set -- $(ovs-vsctl list-ports br-int | grep -E '_h$|^duplicate$'"
            " | sed 's/^/-- --if-exists del-port /' || :)\n"
            '[ $# = 0 ] || ovs-vsctl "$@"\n'
            "ovs-vsctl -- --all destroy QoS -- --all destroy Queue\n"
            "for x in $(ip -o link show type veth | grep -o '[0-9a-z_]*_h@' || :);"
            " do ip link del ${x%@} || :; done\n"
            "rm -rf /run/ovnlet"
        )
        self.api.delete_all(self.space.role)


async def until(look: Callable[[], Awaitable[Any]], what: str, within: float = 20) -> float:
    """Wait until `look` returns true, and return the seconds that took."""
    begun = time.monotonic()
    while not await look():
        assert time.monotonic() - begun < within, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun
