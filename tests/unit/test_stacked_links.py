"""Links on top of a NIC, by the kernel's messages."""

import struct

import pytest

from ovnlet.drivers.links.stacked import stacked
from ovnlet.drivers.linux.transport import Garbled, attribute, u32

_HEAD = bytes(16)


def message(
    name: str, kind: str = "", *, below: int = 0, vlan: int = 0, elsewhere: int = -1
) -> bytes:
    info = attribute(1, kind.encode() + b"\0")
    info += attribute(2, attribute(1, struct.pack("=H", vlan))) if vlan else b""
    body = (
        _HEAD + attribute(3, name.encode() + b"\0") + (attribute(5, u32(below)) if below else b"")
    )
    body += attribute(37, u32(elsewhere)) if elsewhere >= 0 else b""
    return body + (attribute(18, info) if kind else b"")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message("eth0"), ("eth0", 0, "", 0)),
        (message("eth0.30", "vlan", below=2, vlan=30), ("eth0.30", 2, "vlan", 30)),
        (message("mac0", "macvlan", below=2), ("mac0", 2, "macvlan", 0)),
        # Its index is one of another namespace, which may be that of a NIC here.
        (message("veth0", "veth", below=2, elsewhere=4), ("veth0", 0, "veth", 0)),
    ],
)
def test_what_a_link_is_on(body: bytes, expected: tuple[str, int, str, int]) -> None:
    assert stacked(body) == expected


def test_a_link_without_a_name_is_garbled() -> None:
    with pytest.raises(Garbled):
        stacked(_HEAD)
