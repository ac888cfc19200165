"""`ovnlet doctor` on a real node: no fault on a healthy node, each planted fault with its fix."""

import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from integration.cni.agent.cli import BIN, CONF, ovnlet
from integration.cni.agent.node import SOCKET, AgentNode, until
from testbed import identities, layout

Finding = dict[str, str]
Flags = AsyncIterator[list[str]]
SCRATCH = "/run/doctor"
HEALTHY = 0
FAULTY = 3


async def examine(
    node: AgentNode, *flags: str, through: tuple[str, ...] = ()
) -> tuple[int, list[Finding]]:
    """Run the doctor in the node's space with the agent's paths; return exit code and findings."""
    outcome = await ovnlet(node, "doctor", "-o", "json", *flags, through=through)
    assert outcome.exit_code in (HEALTHY, FAULTY), outcome
    return outcome.exit_code, json.loads(outcome.stdout)


async def faults(node: AgentNode, *flags: str, through: tuple[str, ...] = ()) -> list[Finding]:
    code, findings = await examine(node, *flags, through=through)
    found = [finding for finding in findings if finding["level"] == "fault"]
    assert (code == FAULTY) == bool(found)
    assert all(finding["fix"] for finding in found)
    return found


async def is_well(node: AgentNode) -> bool:
    return not await faults(node)


@pytest_asyncio.fixture
async def installed(bare: AgentNode) -> AsyncIterator[AgentNode]:
    """Yield a node whose agent has installed the plugin and the configuration."""
    bare.start(f"--cni-bin-dir={BIN}", f"--cni-conf-dir={CONF}", f"--plugin={bare.plugin}")
    yield bare
    await bare.sh(f"rm -rf {BIN}/ovnlet {CONF}/*ovnlet* {SCRATCH}")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that ``plant`` causes, and the finding that the doctor must report.

    ``plant`` yields additional flags for the doctor, and repairs the fault at the end. ``fix``
    must be part of the advice.
    """

    area: str
    what: str
    fix: str
    plant: Callable[[AgentNode], AbstractAsyncContextManager[list[str]]]


def with_flags(*flags: str) -> Callable[[AgentNode], AbstractAsyncContextManager[list[str]]]:
    """Return a plant for a fault that is in the doctor's flags."""

    @asynccontextmanager
    async def plant(node: AgentNode) -> Flags:
        yield [*flags]

    return plant


def with_script(
    break_it: str, repair_it: str, *flags: str
) -> Callable[[AgentNode], AbstractAsyncContextManager[list[str]]]:
    @asynccontextmanager
    async def plant(node: AgentNode) -> Flags:
        await node.sh(break_it)
        yield [*flags]
        await node.sh(repair_it)

    return plant


def stopped(daemon: str) -> Callable[[AgentNode], AbstractAsyncContextManager[list[str]]]:
    @asynccontextmanager
    async def plant(node: AgentNode) -> Flags:
        node.space.service(daemon).send(signal.SIGSTOP)
        yield []
        node.space.service(daemon).send(signal.SIGCONT)

    return plant


@asynccontextmanager
async def no_rights(node: AgentNode) -> Flags:
    """Use kube-proxy's token, which the API server accepts but which lacks the agent's rights."""
    config = node.bed.ids.kubeconfig(identities.PROXY, node.bed.control_plane.url, "doctor-denied")
    yield [f"--kubeconfig={config}"]


@asynccontextmanager
async def no_api_server(node: AgentNode) -> Flags:
    config = node.bed.ids.kubeconfig(
        identities.ADMIN, f"https://{layout.CONTROL_IP}:1", "doctor-away"
    )
    yield [f"--kubeconfig={config}"]


@asynccontextmanager
async def no_agent(node: AgentNode) -> Flags:
    node.kill()
    yield []
    node.start(f"--cni-bin-dir={BIN}", f"--cni-conf-dir={CONF}", f"--plugin={node.plugin}")


def while_no_agent_repairs(
    break_it: str, repair_it: str
) -> Callable[[AgentNode], AbstractAsyncContextManager[list[str]]]:
    """Return a fault that a running agent repairs at once: it is planted while there is none."""
    planted = with_script(break_it, repair_it)

    @asynccontextmanager
    async def plant(node: AgentNode) -> Flags:
        async with no_agent(node), planted(node) as flags:
            yield flags

    return plant


@asynccontextmanager
async def unenforceable(node: AgentNode) -> Flags:
    """Request latency from a kernel without sch_netem; with it there would be no fault."""
    sandbox = await node.sandbox()
    node.annotate(sandbox.pod, {"ovn.kubernetes.io/latency": "5"})
    await node.add(sandbox)
    yield []
    await node.delete(sandbox)


@asynccontextmanager
async def unusable(node: AgentNode) -> Flags:
    sandbox = await node.sandbox()
    node.annotate(sandbox.pod, {"ovn.kubernetes.io/ingress_rate": "fast"})
    await node.add(sandbox)
    yield []
    await node.delete(sandbox)


@asynccontextmanager
async def away_encap(node: AgentNode) -> Flags:
    old = (await node.run("ovs-vsctl", "get", "open", ".", "external_ids:ovn-encap-ip")).strip()
    await node.run("ovs-vsctl", "set", "open", ".", "external_ids:ovn-encap-ip=198.51.100.7")
    yield []
    await node.run("ovs-vsctl", "set", "open", ".", f"external_ids:ovn-encap-ip={old}")


BLACKHOLE = ("ip rule add pref 50 to 10.16.0.0/16 blackhole", "ip rule del pref 50")
NO_CHASSIS = (
    "ovs-vsctl remove open . external_ids ovn-encap-type",
    "ovs-vsctl set open . external_ids:ovn-encap-type=geneve",
)
PRIVATE = (
    "mountpoint -q /run/netns || mount --bind /run/netns /run/netns;"
    " mount --make-private /run/netns",
    "mount --make-shared /run/netns",
)
READ_ONLY = (
    f"mkdir -p {SCRATCH}/net && mount --bind /proc/sys/net {SCRATCH}/net"
    f" && mount -o remount,bind,ro {SCRATCH}/net",
    f"umount {SCRATCH}/net",
)
STALE_PLUGIN = (
    f"cp {BIN}/ovnlet {BIN}/saved && echo x >> {BIN}/ovnlet",
    f"mv {BIN}/saved {BIN}/ovnlet",
)
STALE_CONF = (
    f"cd {CONF} && cp 01-ovnlet.conflist saved && sed -i s/cni.sock/old.sock/ 01-ovnlet.conflist",
    f"mv {CONF}/saved {CONF}/01-ovnlet.conflist",
)
FIRST = (f"echo '{{}}' > {CONF}/00-other.conf", f"rm {CONF}/00-other.conf")
OPEN = ("chmod 755 /run/ovnlet", "chmod 700 /run/ovnlet")
TORN = ("echo torn > /run/ovnlet/sandboxes/torn.json", "rm /run/ovnlet/sandboxes/torn.json")
BROKEN_PORT = ("ovs-vsctl add-port br-int nowhere", "ovs-vsctl del-port nowhere")

PLANTED = {
    "ovsdb-server hangs": Fault(
        "OVS",
        "ovsdb-server at /run/openvswitch/db.sock",
        "start ovsdb-server",
        stopped("ovsdb-server"),
    ),
    "ovs-vswitchd hangs": Fault(
        "OVS", "ovs-vswitchd", "systemctl restart openvswitch-switch", stopped("ovs-vswitchd")
    ),
    "ovn-controller hangs": Fault(
        "OVN", "ovn-controller", "systemctl restart ovn-host", stopped("ovn-controller")
    ),
    "no bridge": Fault(
        "OVS", "no bridge br-lost", "add-br br-lost", with_flags("--bridge=br-lost")
    ),
    "a port without a link": Fault(
        "OVS", "interface nowhere", "ovs-vsctl del-port", with_script(*BROKEN_PORT)
    ),
    "a chassis key lost": Fault(
        "OVN", "lacks ovn-encap-type", "ovs-vsctl set open . external_ids", with_script(*NO_CHASSIS)
    ),
    "tunnel address elsewhere": Fault(
        "MTU", "198.51.100.7 is on no link", "external_ids:ovn-encap-ip=", away_encap
    ),
    "F9: a rule before the main table": Fault(
        "traffic",
        "the node: ip rule 50: to 10.16.0.0/16 blackhole",
        "ip rule del pref 50",
        with_script(*BLACKHOLE),
    ),
    "MTU too large": Fault(
        "MTU", "pods have MTU 9000", "set mtu to 1400", with_flags("--mtu=9000")
    ),
    "API server away": Fault("API", ":1/apis", "is the API server up", no_api_server),
    "no permission": Fault("API", "does not allow us to", "rbac.yaml", no_rights),
    "no propagation": Fault("mounts", "/run/netns", "HostToContainer", with_script(*PRIVATE)),
    "sysctls read-only": Fault(
        "mounts", "read-only", "hostPath", with_script(*READ_ONLY, f"--sysctl-dir={SCRATCH}/net")
    ),
    "records on a disk": Fault("mounts", "not on a tmpfs", "/run", with_flags("--run-dir=/etc")),
    "a torn record": Fault("records", "torn.json", "remove the file", with_script(*TORN)),
    "another release's plugin": Fault(
        "CNI",
        "not the one of this release",
        "restart the agent",
        while_no_agent_repairs(*STALE_PLUGIN),
    ),
    "a stale configuration": Fault(
        "CNI", "is stale", "restart the agent", while_no_agent_repairs(*STALE_CONF)
    ),
    "another configuration first": Fault("CNI", "00-other.conf", "remove", with_script(*FIRST)),
    "no agent": Fault("agent", f"no agent answers on {SOCKET}", "get pods", no_agent),
    "socket open to others": Fault(
        "agent", "/run/ovnlet is open to others", "chmod 700", with_script(*OPEN)
    ),
    "an annotation in error": Fault(
        "annotations", "ingress_rate", "correct the annotation", unusable
    ),
    "a limit not enforced": Fault("limits", "no sch_netem", "modprobe sch_netem", unenforceable),
}


async def test_a_healthy_node_has_no_fault(installed: AgentNode) -> None:
    await installed.add(await installed.sandbox())
    code, findings = await examine(installed)
    assert code == HEALTHY, findings
    assert {
        "rights",
        "kernel",
        "mounts",
        "records",
        "OVS",
        "OVN",
        "MTU",
        "API",
        "CNI",
        "agent",
    } <= {finding["area"] for finding in findings if finding["level"] == "ok"}
    assert any(
        finding["level"] == "ok" and finding["what"].startswith("nf_tables") for finding in findings
    )


async def test_every_planted_fault_is_found_with_its_fix(installed: AgentNode) -> None:
    missed: list[Any] = []
    for name, fault in PLANTED.items():
        async with fault.plant(installed) as flags:
            found = await faults(installed, *flags)
        mine = [
            f
            for f in found
            if f["area"] == fault.area and fault.what in f["what"] and fault.fix in f["fix"]
        ]
        print(f"{name}: {[(f['what'], f['fix']) for f in found]}")
        if not mine:
            missed.append((name, found))

        await until(lambda: is_well(installed), f"{name} to be repaired", 30)
    assert not missed


@pytest.mark.parametrize("name", ["net_admin", "sys_admin", "net_broadcast"])
async def test_a_missing_capability_is_found(installed: AgentNode, name: str) -> None:
    through = ("setpriv", f"--bounding-set=-{name}", f"--inh-caps=-{name}")
    found = await faults(installed, through=through)
    assert [f["fix"] for f in found if f["area"] == "rights"] == [
        f"add {name.upper()} to securityContext.capabilities.add"
    ]
