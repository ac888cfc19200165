"""`kubectl ovnlet trace` without a cluster: what traces and hops say, and who is named first."""

import json
from typing import Any

import click
import pytest

from ovnlet.cluster import endpoints
from ovnlet.cluster.endpoints import Target
from ovnlet.cluster.logical import Logical, said, traced
from ovnlet.cluster.stages import received, sent
from ovnlet.core.errors import NotReady
from ovnlet.doctor.hop import read
from ovnlet.doctor.switch import refusal

TUNNEL = """Flow: tcp,in_port=3

bridge("br-int")
 0. in_port=3, priority 100
    resubmit(,8)
Final flow: unchanged
Datapath actions: ct(zone=4),recirc(0x1)
===
Final flow: tcp
Datapath actions: set(tunnel(tun_id=0x3,dst=172.31.0.11,ttl=64,tp_dst=6081)),2
"""
USERSPACE = (
    "Datapath actions: tnl_push(tnl_port(4),header(size=58,type=5,eth(dst=0),ipv4(src=172.31.0.10,"
    "dst=172.31.0.12,proto=17),udp()),out_port(2)),5\n"
)
A = Target("default/a", "10.16.0.5", node="n0", mac="02:00:00:00:00:0a", pod=True)
B = Target("default/b", "10.16.0.6", 80, "n1", "02:00:00:00:00:0b", pod=True)
PORT = {
    "name": "x_h",
    "ofport": 3,
    "error": "",
    "iface_id": "a.default",
    "installed": True,
    "mac": "02:00:00:00:00:0a",
}


def hop(**changes: Any) -> dict[str, Any]:
    sound = {
        "state": "attached",
        "steps": [],
        "interference": [],
        "ips": "10.16.0.5",
        "error": "",
        "node": [],
        "port": PORT,
        "hop": {"next": "10.16.0.6", "mac": "02:00:00:00:00:0b", "source": "10.16.0.5"},
        "flows": {"result": "tunnel", "remote": "172.31.0.11", "actions": "", "trace": []},
        "listens": {"tcp": True, "udp": False},
    }
    return {**sound, **changes}


@pytest.mark.parametrize(
    ("text", "result", "remote"),
    [
        (TUNNEL, "tunnel", "172.31.0.11"),
        (USERSPACE, "tunnel", "172.31.0.12"),
        ("Datapath actions: 7\n", "here", ""),
        ("Datapath actions: ct(zone=1),recirc(1)\n==\nDatapath actions: drop\n", "drop", ""),
        ("nothing of the kind", "drop", ""),
    ],
)
def test_the_last_datapath_actions_of_a_trace_decide(text: str, result: str, remote: str) -> None:
    found = read(text)
    assert (found["result"], found["remote"]) == (result, remote)


def wrong(stages: Any) -> list[tuple[str, str]]:
    return [(stage.where, stage.what) for stage in stages if stage.state == "fault"]


def test_nothing_is_wrong_on_a_sound_way() -> None:
    assert wrong([*sent(A, B, hop()), *received(B, hop(), hop(), "tcp")]) == []


@pytest.mark.parametrize(
    ("changes", "where", "word"),
    [
        ({"steps": ["+ Route eth0 0.0.0.0/0"]}, "sender", "+ Route"),
        ({"interference": ["route blackhole"]}, "sender", "blackhole"),
        ({"error": "the netns is gone"}, "sender", "netns"),
        ({"hop": {"error": "to 10.16.0.6 there is no route"}, "flows": None}, "route", "no route"),
        ({"hop": {"next": "10.16.0.1", "mac": ""}, "flows": None}, "route", "nobody answers"),
        ({"port": {**PORT, "installed": False}}, "port", "not installed"),
        ({"port": {"error": "no port"}}, "port", "no port"),
        ({"node": [{"what": "ovn-controller: away", "fix": "x"}]}, "node n0", "away"),
        ({"flows": {"result": "drop", "trace": ["drop"], "actions": "drop"}}, "OpenFlow", "drops"),
        ({"flows": {"result": "here", "trace": [], "actions": "7"}}, "OpenFlow", "no tunnel"),
    ],
)
def test_each_thing_that_is_wrong_at_the_sender_is_named(
    changes: dict[str, Any], where: str, word: str
) -> None:
    ((found, what),) = wrong(sent(A, B, hop(**changes)))
    assert (found, word in what) == (where, True), what


def test_a_receiver_that_does_not_listen_is_named() -> None:
    ((where, what),) = wrong(received(B, hop(listens={"tcp": False}), None, "tcp"))
    assert (where, "tcp port 80" in what) == ("receiver", True)


LOGICAL = Logical(A, B, "tcp", hop())
DELIVERED = (
    ' 9. ls_out_apply_port_sec (northd.c:1): outport == "b.default", priority 50\n'
    '    output;\n    /* output to "b.default", type "" */\n'
)


def test_a_microflow_has_what_the_pods_kernel_would_send() -> None:
    assert LOGICAL.microflow() == (
        'inport == "a.default" && eth.src == 02:00:00:00:00:0a && eth.dst == 02:00:00:00:00:0b'
        " && ip4.src == 10.16.0.5 && ip4.dst == 10.16.0.6 && ip.ttl == 64 && tcp.dst == 80"
    )


@pytest.mark.parametrize(
    ("text", "state", "word"),
    [
        (DELIVERED, "ok", "b.default"),
        (DELIVERED.replace("b.default", "c.default"), "fault", "not the receiver's"),
        (" 8. ls_in_acl_action (x): reg8[17] == 1, priority 1000\n    drop;\n", "fault", "ACL"),
        (' 7. ls_in_l2_unknown (x): outport == "none", priority 50\n', "fault", "ls_in_l2_unknown"),
        (" 9. ls_in_l2_lkup: no match (implicit drop)\n", "fault", "no match"),
        ("", "fault", "no table"),
    ],
)
def test_a_logical_trace_is_read(text: str, state: str, word: str) -> None:
    stage = said(text, LOGICAL)
    assert (stage.state, word in stage.what) == (state, True), stage


@pytest.mark.parametrize("command", [None, "", "/no/such/ovn-trace", "false"])
def test_a_logical_trace_that_cannot_be_made_is_left_out(command: str | None) -> None:
    (stage,) = traced(command, LOGICAL)
    assert stage.state == "left out"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("default/b:80", "default/b", 80),
        ("default/b", "default/b", 0),
        ("192.0.2.1:53", "192.0.2.1", 53),
        ("fd00::5", "fd00::5", 0),
        ("[fd00::5]:80", "fd00::5", 80),
    ],
)
def test_a_receiver_is_split_into_host_and_port(text: str, host: str, port: int) -> None:
    assert endpoints._split(text) == (host, port)


def test_what_is_no_port_is_refused() -> None:
    with pytest.raises(click.UsageError, match="no port"):
        endpoints._split("default/b:http")


class Listed:
    """An API server with one pod, of which a meta-plugin reports two interfaces."""

    here = "default"

    def read(self, *_: str) -> dict[str, Any]:
        status = [
            {"interface": "eth0", "ips": ["10.16.0.5"], "mac": A.mac},
            {"interface": "net1", "ips": ["10.17.0.5", "fd00::5"], "mac": B.mac},
        ]
        notes = {"k8s.v1.cni.cncf.io/network-status": json.dumps(status)}
        notes["ovn.kubernetes.io/mac_address"] = A.mac
        return {
            "metadata": {"name": "a", "annotations": notes},
            "spec": {"nodeName": "n0"},
            "status": {"podIPs": [{"ip": "10.16.0.5"}]},
        }


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("a", 0, ("default/a", "10.16.0.5", A.mac)),
        ("default/a/eth0", 0, ("default/a", "10.16.0.5", A.mac)),
        ("default/a/net1", 4, ("default/a/net1", "10.17.0.5", B.mac)),
        ("default/a/net1", 6, ("default/a/net1", "fd00::5", B.mac)),
    ],
)
def test_an_end_may_be_a_further_interface(
    name: str, version: int, found: tuple[str, str, str]
) -> None:
    access: Any = Listed()
    end = endpoints.of_pod(access, name, version)
    assert (end.name, end.address, end.mac) == found


def test_an_interface_that_no_status_reports_has_no_address() -> None:
    access: Any = Listed()
    with pytest.raises(NotReady, match="default/a/net2"):
        endpoints.target(access, "default/a/net2:80", "tcp", 4)


def test_only_ready_pods_of_the_named_port_are_endpoints() -> None:
    reference = {"targetRef": {"kind": "Pod", "namespace": "default", "name": "b"}, "ip": "x"}
    ports = [{"name": "web", "port": 8080}, {"name": "other", "port": 1}]
    found = {"subsets": [{"addresses": [reference], "ports": ports}]}
    assert list(endpoints._ready(found, "web")) == [("default/b", 8080)]
    waiting = {"subsets": [{"notReadyAddresses": [reference], "ports": ports}]}
    assert list(endpoints._ready(waiting, "web")) == []


@pytest.mark.parametrize(
    ("ofport", "counts"), [(-1, True), (["set", []], True), (None, True), (11, False)]
)
def test_an_error_of_an_interface_counts_only_without_a_port(ofport: object, counts: bool) -> None:
    """With 20 pods at once `doctor` named interfaces of pods that ran."""
    text = "could not open network device x_h (No such device)"
    assert refusal({"error": text, "ofport": ofport}) == (text if counts else "")
    assert refusal({"error": ["set", []], "ofport": ofport}) == ""
