"""`ovnlet doctor --second-opinion`: what counts as a difference. Real libraries: make tools-e2e."""

from typing import Any

import pytest

from ovnlet import client
from ovnlet.core.settings import Settings
from ovnlet.doctor import second_opinion

SHOWN = {
    "netns": "/run/netns/x",
    "ifname": "eth0",
    "namespace": "default",
    "pod": "a",
    "resources": [
        {"kind": "Address", "observed": {"ip": "10.16.0.5/16"}},
        {
            "kind": "Route",
            "observed": {"destination": "0.0.0.0/0", "via": "10.16.0.1", "source": "10.16.0.5"},
        },
        {"kind": "Offload", "observed": {"tx_checksum": False}},
        {"kind": "Veth", "observed": None},
        {"kind": "Port", "observed": {"name": "x_h", "external_ids": {"iface-id": "a.default"}}},
    ],
}
KERNEL: dict[str, frozenset[object]] = {
    "link": frozenset(),
    "address": frozenset({"10.16.0.5/16"}),
    "route": frozenset({("0.0.0.0/0", "10.16.0.1", "10.16.0.5")}),
}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, frozenset[object]]]:
    """Give what pyroute2 reads at each look; the last one stays."""
    looks = [KERNEL]

    async def ask(_socket: str, path: str) -> tuple[int, Any]:
        return 200, [SHOWN]

    def kernel(_netns: str, _ifname: str) -> dict[str, frozenset[object]]:
        return looks.pop(0) if len(looks) > 1 else looks[0]

    rows = [{"name": "x_h", "external_ids": {"iface-id": "a.default", "other": "1"}}]
    monkeypatch.setattr(client, "ask", ask)
    monkeypatch.setattr(second_opinion, "_of_kernel", kernel)
    monkeypatch.setattr(second_opinion, "_interfaces", lambda _: rows)
    monkeypatch.setattr(second_opinion, "_BETWEEN", 0)
    return looks


async def compared() -> list[tuple[str, str]]:
    found = await second_opinion.examine(Settings(node_name="n0"))
    return [(one.level, one.what) for one in found]


async def test_the_same_is_well(read: list[Any]) -> None:
    assert await compared() == [("ok", "pyroute2 and ovsdbapp see 1 pods as the agent does")]


async def test_what_only_one_of_the_two_sees_is_a_fault_each(read: list[Any]) -> None:
    read[:] = [{**KERNEL, "address": frozenset({"10.16.0.9/16"})}]
    assert await compared() == [
        ("fault", "default/a: address 10.16.0.5/16 is seen by the agent alone"),
        ("fault", "default/a: address 10.16.0.9/16 is seen by pyroute2 alone"),
    ]


async def test_what_changes_between_two_looks_is_no_difference(read: list[Any]) -> None:
    read[:] = [{**KERNEL, "address": frozenset()}, KERNEL]
    assert [level for level, _ in await compared()] == ["ok"]
