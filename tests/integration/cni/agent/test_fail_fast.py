"""L22: an ADD that waits for what cannot come ends within five seconds and says what to do.

Real OVS and OVN: the cases are made by the tools that an administrator would use.
"""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from integration.cni.agent.node import AgentNode
from integration.cni.agent.pods import Sandbox
from integration.cni.runtime import Outcome
from ovnlet_cni.errors import Code
from testbed.assign import SWITCH
from testbed.bed import Bed
from testbed.service import wait_for

pytestmark = pytest.mark.review2
WITHIN = 5.0
CRD = Path(__file__).resolve().parents[4] / "manifests" / "standalone" / "subnet.yaml"


@pytest.fixture
def subnets(bed: Bed) -> Iterator[Callable[[str], None]]:
    """Install the kind Subnet with the pods' own; yield what deletes a Subnet."""
    bed.kubectl("apply", f"--filename={CRD}")
    established = "--output=jsonpath={.status.conditions[*].type}"
    wait_for(
        lambda: "Established" in bed.kubectl("get", "crd", "subnets.kubeovn.io", established),
        "the kind Subnet",
    )
    for name in (SWITCH, "short-lived"):
        body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}}
        spec = {"cidrBlock": "10.16.0.0/16"}
        bed.kubectl("apply", "--filename=-", stdin=json.dumps({**body, "spec": spec}))
    yield lambda name: print(bed.kubectl("delete", "subnet", name), end="")
    bed.kubectl("delete", "crd", "subnets.kubeovn.io")


async def _fails(
    node: AgentNode, adding: Awaitable[Outcome], code: Code, *words: str, what: str
) -> None:
    """Fail unless the ADD ends in time with this code and all of the words."""
    outcome = await adding
    assert outcome.code == code, (what, outcome, node.logged()[-2000:])
    text = str(outcome.error["msg"])
    print(f"{what}: code {int(code)} after {outcome.seconds:.1f} s: {text}")
    assert outcome.seconds < WITHIN, (what, outcome)
    assert not [word for word in words if word not in text], text


async def test_a_port_that_ovn_does_not_bind_l22(node: AgentNode) -> None:
    """L22: the logical port is missing, requested for another chassis, or claimed by one."""
    missing, elsewhere, claimed, good = await node.make_sandboxes(
        await asyncio.to_thread(node.make_pods, [""] * 4)
    )
    node.bed.nbctl("lsp-del", missing.pod.port)
    node.bed.nbctl("lsp-set-options", elsewhere.pod.port, "requested-chassis=n1")
    other = node.bed.node(1)
    port = ["add-port", "br-int", "claims", "--", "set", "Interface", "claims", "type=internal"]
    other.vsctl(*port, f"external_ids:iface-id={claimed.pod.port}")
    node.bed.nbctl("--wait=hv", "lsp-set-options", claimed.pod.port, "requested-chassis=n1")
    before = await node.look()
    try:
        await asyncio.gather(
            _fails(
                node,
                node.call("ADD", missing),
                Code.TRY_AGAIN,
                f"no logical switch port {missing.pod.port}",
                what="LSP missing",
            ),
            *(
                _fails(
                    node,
                    node.call("ADD", each),
                    Code.TRY_AGAIN,
                    each.pod.port,
                    "another chassis",
                    what=what,
                )
                for each, what in ((elsewhere, "requested elsewhere"), (claimed, "claimed"))
            ),
        )
    finally:
        other.vsctl("--if-exists", "del-port", "claims")
    await node.same(before)
    assert (await node.add(good)).seconds < WITHIN, "the faults of others hold nobody up"


async def test_a_subnet_that_is_gone_l22(bare: AgentNode, subnets: Callable[[str], None]) -> None:
    """L22: a pod of a deleted Subnet, allocated or not; a pod of another Subnet is attached."""
    node = bare
    node.start("--chassis=observe")
    allocated, waiting, good = await node.make_sandboxes(
        await asyncio.to_thread(node.make_pods, [""] * 3)
    )
    await asyncio.to_thread(subnets, "short-lived")
    node.bed.nbctl("lsp-del", allocated.pod.port)
    switch = {"ovn.kubernetes.io/logical_switch": "short-lived"}
    node.annotate(allocated.pod, switch)
    node.annotate(waiting.pod, dict.fromkeys(waiting.pod.annotations) | switch)
    await asyncio.sleep(1)  # until the watches have told
    await asyncio.gather(
        *(
            _fails(
                node,
                node.call("ADD", each),
                Code.TRY_AGAIN,
                "Subnet short-lived",
                "create it, or delete the pod",
                what=what,
            )
            for each, what in ((allocated, "Subnet gone"), (waiting, "… before the address"))
        )
    )
    await node.add(good)


async def test_an_iface_id_that_another_pods_live_port_holds_l22(node: AgentNode) -> None:
    """L22: two pods whose names and providers make one `iface-id`."""
    pods = await asyncio.to_thread(node.make_pods, ["twin", "twin.default.more"], port=False)
    holder, second = await node.make_sandboxes(pods)
    prefix = "more.default.z.ovn.kubernetes.io/"
    named = {
        key.replace("ovn.kubernetes.io/", prefix): value
        for key, value in holder.pod.annotations.items()
    }
    node.annotate(holder.pod, named)
    port = "twin.default.more.default.z.ovn"
    addresses = f"{holder.pod.mac} {holder.pod.v4} {holder.pod.v6}"
    node.bed.nbctl("lsp-add", SWITCH, port, "--", "lsp-set-addresses", port, addresses)

    def add(sandbox: Sandbox, provider: str) -> Awaitable[Outcome]:
        return node.call("ADD", sandbox, node.runtime.config(provider=provider))

    assert (await add(holder, "more.default.z.ovn")).code == 0
    await _fails(
        node,
        add(second, "z.ovn"),
        Code.INVALID_CONFIG,
        "default/twin has the logical switch port",
        what="iface-id held",
    )
    assert await node.iface_id(holder) == port


async def test_a_node_without_a_chassis_name_l22(bare: AgentNode) -> None:
    """L22: somebody removes the key beside Kube-OVN, where it is not ours to restore."""
    node = bare
    node.start("--chassis=observe")
    sandbox, later = await node.make_sandboxes(await asyncio.to_thread(node.make_pods, [""] * 2))
    system_id = node.space.vsctl("get", "Open_vSwitch", ".", "external_ids:system-id").strip()
    node.space.vsctl("remove", "Open_vSwitch", ".", "external_ids", "system-id")
    try:
        await _fails(
            node,
            node.call("ADD", sandbox),
            Code.TRY_AGAIN,
            "no chassis name",
            "set external_ids:system-id",
            what="no system-id",
        )
        adding = asyncio.create_task(node.call("ADD", later))
        await asyncio.sleep(2)
    finally:
        node.space.vsctl("set", "Open_vSwitch", ".", f"external_ids:system-id={system_id}")
    outcome = await adding
    assert outcome.exit_code == 0, ("what heals in time is waited for", outcome)


async def test_a_node_without_a_bridge_l22(bare: AgentNode) -> None:
    """L22: br-int is deleted while ovn-controller, which makes it, does nothing."""
    node = bare
    node.start("--chassis=observe")
    sandbox = await node.sandbox()
    controller = node.space.service("ovn-controller")
    controller.send(signal.SIGSTOP)
    try:
        node.space.vsctl("del-br", "br-int")
        await _fails(
            node,
            node.call("ADD", sandbox),
            Code.TRY_AGAIN,
            "no bridge br-int",
            "external_ids:ovn-remote",
            what="no br-int",
        )
    finally:
        controller.send(signal.SIGCONT)
    wait_for(lambda: "br-int" in node.space.vsctl("list-br"), "ovn-controller's bridge")
    await node.add(sandbox)
