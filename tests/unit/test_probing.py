"""Probes of pods in VPCs of their own: which there are, and a listener that passes them on."""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import cast

import pytest

from ovnlet.agent.probing import Probing
from ovnlet.core.gateway import Cluster
from ovnlet.core.gateway_network import PROBED, tables
from ovnlet.core.identity import Attachment, Pod, Record
from ovnlet.core.probes import Probe, ports, probed
from ovnlet.core.resources import NftChain
from ovnlet.drivers.linux import redirected
from ovnlet.drivers.store.sandboxes import Sandboxes
from ovnlet.reconcile.state import State

V4, V6 = ip_address("10.9.0.5"), ip_address("fd00:9::5")
SPEC = {
    "containers": [
        {
            "name": "a",
            "ports": [{"name": "web", "containerPort": 8080}, {"containerPort": 1}],
            "readinessProbe": {"httpGet": {"port": "web", "path": "/"}},
            "livenessProbe": {"tcpSocket": {"port": 9000}},
            "startupProbe": {"exec": {"command": ["true"]}},
        },
        {
            "name": "b",
            "livenessProbe": {"grpc": {"port": 50051}},
            "readinessProbe": {"httpGet": {"port": 80, "host": "192.0.2.1"}},
            "startupProbe": {"httpGet": {"port": "no such port"}},
        },
        {"name": "c"},
    ]
}


def pod(router: str = "vpc1") -> Pod:
    facts = {"ovn.kubernetes.io/logical_router": router}
    return Pod("shop", "web-0", "uid", facts, probes=ports(SPEC))


def record(provider: str = "ovn") -> Record:
    good = {"ovn.kubernetes.io/ip_address": f"{V4},{V6}"}
    made = Attachment("c" * 64, "eth0", "/run/netns/x", "shop", "web-0", "uid", provider, "boot", 1)
    return Record(made, good)


def test_ports_of_all_kinds_of_probes_that_go_to_the_pod_itself() -> None:
    assert ports(SPEC) == {8080, 9000, 50051}
    assert ports({}) == frozenset()


def test_both_addresses_of_a_pod_that_another_router_connects() -> None:
    found = probed([(pod(), record())], "ovn-cluster")
    assert set(found) == {Probe(ip, port) for ip in (V4, V6) for port in (8080, 9000, 50051)}
    assert set(found.values()) == {"/run/netns/x"}


@pytest.mark.parametrize(
    "left",
    [
        (pod("ovn-cluster"), record()),
        (pod(""), record()),
        (Pod("shop", "web-0", "uid", probes=ports(SPEC)), record()),
        (pod(), record("n1.default.ovn")),
    ],
)
def test_pods_that_the_node_reaches_and_further_networks_are_left_out(
    left: tuple[Pod, Record],
) -> None:
    assert probed([left], "ovn-cluster") == {}


def test_the_table_has_a_chain_for_them_only_where_there_are_any() -> None:
    assert not [each for each in tables(Cluster()) if getattr(each, "name", "") == PROBED]
    found = tables(Cluster(), (), [Probe(V4, 80), Probe(V6, 80)])
    (chain,) = [each for each in found if isinstance(each, NftChain) and each.name == PROBED]
    assert [" ".join(map(str, rule)) for rule in chain.rules.of] == [
        "ip daddr 10.9.0.5 tcp dport 80 redirect to :8102",
        "ip6 daddr fd00:9::5 tcp dport 80 redirect to :8102",
    ]


class Records:
    """The records of one attached pod."""

    def __iter__(self) -> Iterator[Record]:
        yield record()


async def test_a_change_of_probes_is_told_once_and_one_of_nothing_is_not() -> None:
    state, records, told = State(), Records(), []
    made = Probing(cast(Sandboxes, records), state, "ovn-cluster")
    made.subscribe(lambda: told.append(made.probes))
    state.update(None, pod())
    assert len(told) == 1
    assert Probe(V4, 8080) in told[0]
    state.update(pod(), pod())
    assert len(told) == 1
    state.update(pod(), None)
    assert told[1:] == [frozenset()]


async def _asked(made: Probing, monkeypatch: pytest.MonkeyPatch, wanted: Probe, end: int) -> bytes:
    """Ask the listener for a probe, whose pod answers at a port of this machine's loopback."""

    async def connected(_netns: str, _address: object, _port: int) -> socket.socket:
        inside = socket.socket()
        inside.setblocking(False)
        await asyncio.get_running_loop().sock_connect(inside, ("127.0.0.1", end))
        return inside

    monkeypatch.setattr(redirected, "original", lambda _: wanted)
    monkeypatch.setattr(redirected, "connected", connected)
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()
        server.close()


@pytest.fixture
def made() -> Probing:
    state = State()
    made = Probing(cast(Sandboxes, Records()), state, "ovn-cluster")
    state.update(None, pod())
    return made


async def test_a_probe_is_passed_on_and_its_answer_comes_back_whole(
    made: Probing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(b"200 " + asked.split()[1] + b"x" * 300_000)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = await _asked(made, monkeypatch, Probe(V4, 8080), port)
    server.close()
    assert found == b"200 /" + b"x" * 300_000


async def test_a_pod_that_refuses_and_what_is_no_probe_reset_the_connection(
    made: Probing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    for wanted in (Probe(V4, 8080), Probe(V4, 22)):
        with pytest.raises(ConnectionResetError):
            await _asked(made, monkeypatch, wanted, free)
