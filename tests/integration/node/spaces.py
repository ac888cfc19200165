"""Network namespaces of a test's own, observed and changed by iproute2 only.

No code under test may be used here: the assertions rely on an independent observer.
"""

import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from ovnlet.core import ids
from ovnlet.core.identity import Attachment
from ovnlet.core.plan import Plan, diff
from ovnlet.core.resources import Address, Loopback, Network, Offload, Resource, Route, Sysctl, Veth
from ovnlet.drivers.links.pod import PodLinks
from ovnlet.drivers.linux.rtnetlink import Interface

CONTAINER = "c0ffee5b1e55" + "0" * 52
MAC = "00:00:00:53:00:05"
DUAL = ("10.16.0.5/16", "fd00::5/64")
# Seconds for a program, with the factor for an emulated processor on a busy machine.
_WITHIN = 20 * float(os.environ.get("OVNLET_TEST_PATIENCE") or 1)


@dataclass(frozen=True)
class Space:
    """A namespace, named as in /run/netns, and iproute2 inside it."""

    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def ip(self, *words: str) -> str:
        command = ["ip", "-n", self.name, *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_WITHIN
        ).stdout

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [each for each in json.loads(self.ip("-d", "-j", *words) or "[]") if each]

    def link(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.json("link") if each["ifname"] == name]
        return found

    def links(self) -> set[str]:
        return {each["ifname"] for each in self.json("link")} - {"lo"}

    def addresses(self, name: str = "eth0") -> dict[str, dict[str, Any]]:
        """Return the addresses by ``address/prefix``, without link-local ones."""
        (found,) = self.json("addr", "show", "dev", name)
        info = found["addr_info"]
        return {
            f"{each['local']}/{each['prefixlen']}": each
            for each in info
            if not each["local"].startswith("fe80")
        }

    def routes(self) -> dict[str, dict[str, Any]]:
        """Return the routes of the main tables by destination, IPv6 ones with a leading colon.

        Multicast and link-local routes are left out. Of several routes to one destination the
        one in force is returned.
        """
        found = [*self.json("route"), *self.json("-6", "route")][::-1]
        return {
            (":" if ":" in each["gateway"] + each["prefsrc"] else "") + each["dst"]: each
            for each in ({"gateway": "", "prefsrc": "", **route} for route in found)
            if not each["dst"].startswith(("fe80", "ff00", "multicast"))
        }

    def setting(self, name: str) -> str:
        with self.inside():
            return Path("/proc/sys/net", name).read_text().strip()

    def set(self, name: str, value: str) -> None:
        with self.inside():
            Path("/proc/sys/net", name).write_text(value)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread into the namespace, and back at the end."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            os.setns(there, os.CLONE_NEWNET)
            yield
        finally:
            os.setns(own, os.CLONE_NEWNET)
            os.close(own)
            os.close(there)

    def add(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=_WITHIN)

    def delete(self) -> None:
        if Path(self.path).exists():
            subprocess.run(["ip", "netns", "del", self.name], check=True, timeout=_WITHIN)


@dataclass
class Bed:
    """A node's and a pod's namespace. The test's thread runs in ``node``."""

    node: Space
    pod: Space
    spaces: list[Space] = field(default_factory=list)
    netlink: PodLinks = field(default_factory=lambda: PodLinks(loopback_down=0))

    @property
    def attachment(self) -> Attachment:
        return Attachment(
            CONTAINER, "eth0", self.pod.path, "shop", "web-0", "uid", "ovn", "boot", 1
        )

    @property
    def host(self) -> str:
        return ids.host_link(CONTAINER, "eth0")

    def another(self, role: str) -> Space:
        """Create a further namespace; the fixture deletes it."""
        space = Space(f"{self.node.name.removesuffix('-node')}-{role}")
        space.add()
        self.spaces.append(space)
        return space

    def plan(self, desired: Network, owned: frozenset[Interface] = frozenset()) -> Plan:
        return diff(desired, self.netlink.observe(self.attachment, desired, owned))

    async def converge(self, desired: Network) -> Plan:
        """Observe, plan and apply once, as the reconciler does, and return the plan.

        Fail unless a second plan is empty.
        """
        plan = self.plan(desired)
        await self.netlink.apply(self.attachment, plan)
        assert self.plan(desired) == ()
        return plan


def network(
    *addresses: str, mtu: int = 1400, mac: str = MAC, routes: tuple[tuple[str, str], ...] = ()
) -> Network:
    """Return the desired network of a pod with these addresses.

    The gateway is the first host address of each subnet.
    """
    veth = Veth(ids.host_link(CONTAINER, "eth0"), "eth0", mac, mtu, ids.alias(CONTAINER, "eth0"))
    things: set[Resource] = {
        veth,
        Offload(veth.key, "eth0", tx_checksum=False),
        Loopback(veth.key),
    }
    sources = {}
    for each in map(ip_interface, addresses):
        sources[each.version] = each.ip
        default = ip_network("0.0.0.0/0" if each.version == 4 else "::/0")
        things |= {
            Address(veth.key, "eth0", each),
            Route(veth.key, "eth0", each.network, None, each.ip),
            Route(veth.key, "eth0", default, each.network[1], each.ip),
        }
    things |= {
        Route(
            veth.key,
            "eth0",
            ip_network(destination),
            ip_address(via),
            sources[ip_address(via).version],
        )
        for destination, via in routes
    }
    if 6 in sources:
        things.add(Sysctl(veth.key, "ipv6/conf/eth0/disable_ipv6", "0"))
        things.add(Sysctl(veth.key, "ipv6/conf/eth0/accept_ra", "0"))
    return frozenset(things)


class Listener:
    """A netlink subscriber to all changes of links, addresses, routes and rules of a namespace."""

    _GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x8 | 0x20000

    def __init__(self, space: Space) -> None:
        with space.inside():
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
            )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, self._GROUPS))

    def message_types(self) -> list[int]:
        """Return the types of all messages since the last call."""
        types: list[int] = []
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return types
            while data:
                size, kind = struct.unpack_from("=IH", data)
                types.append(kind)
                data = data[(size + 3) & ~3 :]

    def close(self) -> None:
        self._socket.close()
