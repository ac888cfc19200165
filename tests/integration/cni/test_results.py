"""The plugin's output for each version of the specification, and how it extends a prevResult."""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from integration.cni.agents import ATTACHED, ScriptedAgent
from integration.cni.runtime import Json, Runtime
from ovnlet_cni.errors import CniError, Code
from ovnlet_cni.request import Attach, Detach
from ovnlet_cni.result import Attached, AttachedInterface, AttachedRoute, parse

pytestmark = pytest.mark.usefixtures("server")

OLD: Json = {
    "interfaces": [
        {"name": "eth0", "mac": "00:00:00:00:00:02", "sandbox": "/run/netns/a"},
        {"name": "c0ffee_h"},
    ],
    "ips": [
        {"version": "4", "address": "10.16.0.2/16", "gateway": "10.16.0.1", "interface": 0},
        {"version": "6", "address": "fd00::2/64", "gateway": "fd00::1", "interface": 0},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.16.0.1"}, {"dst": "::/0", "gw": "fd00::1"}],
    "dns": {},
}
MIDDLE: Json = OLD | {
    "ips": [
        {"address": "10.16.0.2/16", "gateway": "10.16.0.1", "interface": 0},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 0},
    ]
}
NEW: Json = MIDDLE | {
    "interfaces": [
        {"name": "eth0", "mac": "00:00:00:00:00:02", "mtu": 1400, "sandbox": "/run/netns/a"},
        {"name": "c0ffee_h", "mtu": 1400},
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.16.0.1", "priority": 100},
        {"dst": "::/0", "gw": "fd00::1"},
    ],
}
PREVIOUS: Json = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "name": "bond0",
            "mac": "00:00:00:00:00:09",
            "socketPath": "/run/x.sock",
            "pciID": "0000:00:1f.6",
        }
    ],
    "ips": [{"address": "192.0.2.9/24", "interface": 0}, {"address": "2001:db8::9/64"}],
    "routes": [{"dst": "198.51.100.0/24", "mtu": 1300, "advmss": 1200, "table": 7, "scope": 253}],
    "dns": {"nameservers": ["192.0.2.53"], "search": ["example.org"]},
}


@pytest.mark.parametrize(
    ("version", "body"), [("0.3.1", OLD), ("0.4.0", OLD), ("1.0.0", MIDDLE), ("1.1.0", NEW)]
)
async def test_a_result_in_the_version_that_was_asked_for(
    runtime: Runtime, version: str, body: Json
) -> None:
    outcome = await runtime.call("ADD", runtime.config(cniVersion=version))
    assert outcome.exit_code == 0
    assert outcome.body == {"cniVersion": version, **body}


async def test_the_agent_gets_all_that_was_said(runtime: Runtime, agent: ScriptedAgent) -> None:
    routes = [{"gw": "10.0.0.1"}, {"gw": "fd00::1"}, {"dst": "192.0.2.0/24", "gw": "10.0.0.2"}]
    await runtime.call("ADD", runtime.config(provider="net1.default.ovn", routes=routes))
    attach = agent.calls[0]
    assert isinstance(attach, Attach)
    assert (attach.version, attach.container_id, attach.ifname, attach.netns) == (
        "1.1.0",
        "c0ffee",
        "eth0",
        runtime.netns,
    )
    assert (attach.namespace, attach.pod, attach.uid) == ("default", "web-0", "7f9c-11")
    assert attach.provider == "net1.default.ovn"
    assert attach.routes == (
        AttachedRoute(IPv4Network("0.0.0.0/0"), IPv4Address("10.0.0.1")),
        AttachedRoute(IPv6Network("::/0"), IPv6Address("fd00::1")),
        AttachedRoute(IPv4Network("192.0.2.0/24"), IPv4Address("10.0.0.2")),
    )
    assert attach.prev_result is None


async def test_a_static_pod_has_no_uid_of_the_api(runtime: Runtime, agent: ScriptedAgent) -> None:
    await runtime.call(
        env=runtime.env(CNI_ARGS="K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=etcd-n1;K8S_POD_UID=")
    )
    attach = agent.calls[0]
    assert isinstance(attach, Attach)
    assert attach.uid is None


async def test_a_plugin_that_is_not_the_first_hands_on_what_came_before(runtime: Runtime) -> None:
    outcome = await runtime.call("ADD", runtime.config(prevResult=PREVIOUS))
    body = outcome.body
    assert body["interfaces"] == [*_list(PREVIOUS, "interfaces"), *_list(NEW, "interfaces")]
    moved = [ip | {"interface": 1} for ip in _list(NEW, "ips")]
    assert body["ips"] == [*_list(PREVIOUS, "ips"), *moved]
    assert body["routes"] == [*_list(PREVIOUS, "routes"), *_list(NEW, "routes")]
    assert body["dns"] == PREVIOUS["dns"]


async def test_a_previous_result_loses_fields_that_an_old_version_lacks(
    runtime: Runtime,
) -> None:
    previous = PREVIOUS | {
        "cniVersion": "0.3.1",
        "ips": [{"version": "4", "address": "192.0.2.9/24"}],
    }
    body = (await runtime.call("ADD", runtime.config(cniVersion="0.3.1", prevResult=previous))).body
    assert _list(body, "interfaces")[0] == {"name": "bond0", "mac": "00:00:00:00:00:09"}
    assert _list(body, "ips")[0] == {"version": "4", "address": "192.0.2.9/24"}
    assert _list(body, "routes")[0] == {"dst": "198.51.100.0/24"}


async def test_check_compares_with_the_result_of_add(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    for version in ("0.4.0", "1.0.0", "1.1.0"):
        config = runtime.config(cniVersion=version)
        added = (await runtime.call("ADD", config)).body
        outcome = await runtime.call("CHECK", config | {"prevResult": added})
        assert (outcome.exit_code, outcome.stdout) == (0, b"")
    attach = agent.calls[-1]
    assert isinstance(attach, Attach)
    assert attach.prev_result == ATTACHED


async def test_a_delete_needs_the_container_and_nothing_else(
    runtime: Runtime, agent: ScriptedAgent
) -> None:
    for netns in (None, "", "/gone"):
        env = runtime.env("DEL", CNI_NETNS=netns, CNI_ARGS=None)
        outcome = await runtime.call(
            "DEL", runtime.config(prevResult={"ips": "not read by DEL"}), env
        )
        assert (outcome.exit_code, outcome.stdout) == (0, b"")
        assert agent.calls.pop() == Detach("1.1.0", "c0ffee", "eth0", netns or None)


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
async def test_gc_passes_the_valid_attachments(
    runtime: Runtime, agent: ScriptedAgent, key: str
) -> None:
    items = [
        {"containerID": "a", "ifname": "eth0"},
        {"containerID": "b", "ifname": "net1", "extra": 1},
    ]
    config = runtime.config(**{"cni.dev/valid-attachments": None, key: items})
    outcome = await runtime.call("GC", config, {"CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"})
    assert (outcome.exit_code, outcome.stdout) == (0, b"")
    assert agent.calls == [frozenset({("a", "eth0"), ("b", "net1")})]


async def test_status_returns_the_agents_answer(runtime: Runtime, agent: ScriptedAgent) -> None:
    assert (await runtime.call("STATUS")).exit_code == 0
    for code in (Code.UNAVAILABLE, Code.LIMITED):
        agent.failure = CniError(code, "ovs-vswitchd is stuck", "restart it")
        outcome = await runtime.call("STATUS")
        wanted = {
            "cniVersion": "1.1.0",
            "code": int(code),
            "msg": "ovs-vswitchd is stuck",
            "details": "restart it",
        }
        assert outcome.error == wanted


@pytest.mark.parametrize("code", list(Code))
async def test_every_code_of_the_agent_arrives(
    runtime: Runtime, agent: ScriptedAgent, code: Code
) -> None:
    agent.failure = CniError(code, 'no "subnet"\nyet \u20ac', "wait")
    assert (await runtime.call("ADD")).error["code"] == code


def test_a_result_survives_its_own_text() -> None:
    assert parse(json.loads(ATTACHED.render("1.1.0"))) == ATTACHED
    previous = parse(PREVIOUS)
    assert parse(json.loads(previous.render("1.1.0"))) == previous


def test_indices_follow_the_interfaces() -> None:
    first = Attached(interfaces=(AttachedInterface("a"), AttachedInterface("b")))
    assert [ip.interface for ip in ATTACHED.after(first).ips] == [2, 2]


def _list(body: Json, key: str) -> list[Json]:
    items = body[key]
    assert isinstance(items, list)
    return items
