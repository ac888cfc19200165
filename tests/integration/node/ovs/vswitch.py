"""An Open vSwitch of a test's own: its database, ovs-vswitchd and ovn-controller.

Its files are in one directory, its links in one namespace.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

from ovnlet.core import desired
from ovnlet.core.allocation import Allocation
from ovnlet.core.identity import Attachment, Node
from ovnlet.core.ids import host_link
from ovnlet.core.plan import Step, Verb
from ovnlet.core.resources import Port, Resource
from ovnlet.drivers.ovs.ports import Ovs

SCHEMAS = Path("/usr/share/openvswitch/vswitch.ovsschema"), Path("/usr/share/ovn/ovn-sb.ovsschema")

# The factor for all timeouts of foreign processes: above 1 where the processor is emulated.
TIMEOUT_FACTOR = float(os.environ.get("OVNLET_TEST_PATIENCE") or 1)


def eventually(condition: Callable[[], object], within: float = 5.0) -> None:
    """Wait until ``condition`` is true, and block the event loop meanwhile.

    Fail after ``within`` seconds times TIMEOUT_FACTOR.
    """
    end = time.monotonic() + within * TIMEOUT_FACTOR
    while not condition():
        assert time.monotonic() < end, f"not true within {within * TIMEOUT_FACTOR} s"
        time.sleep(0.01)


async def until(condition: Callable[[], object], within: float = 15.0) -> None:
    """Wait like ``eventually``, while the event loop runs. Raise TimeoutError in the end."""
    async with asyncio.timeout(within * TIMEOUT_FACTOR):
        while not condition():  # noqa: ASYNC110 - foreign processes set no event
            await asyncio.sleep(0.01)


async def settled(ovs: Ovs) -> None:
    """Wait until our rows contain every earlier commit: a session keeps its messages in order."""
    await ovs._database.transact([{"op": "comment", "comment": "settled"}])


class PrivateSwitch:
    """Daemons of Open vSwitch and OVN as children of the test.

    The links are in a namespace that ends with ovs-vswitchd.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "db.sock"
        self.log = directory / "conf.db"
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.recreate()

    def recreate(self) -> None:
        """Replace the databases by empty ones."""
        for schema, name in zip(SCHEMAS, ("conf.db", "sb.db"), strict=True):
            (self.directory / name).unlink(missing_ok=True)
            (self.directory / f".{name}.~lock~").unlink(missing_ok=True)
            subprocess.run(
                ["ovsdb-tool", "create", str(self.directory / name), str(schema)], check=True
            )

    def start_server(self, *, init: bool = True) -> None:
        databases = [str(self.directory / name) for name in ("conf.db", "sb.db")]
        self._start("ovsdb-server", "ovsdb-server", *databases, f"--remote=punix:{self.socket}")
        eventually(self.socket.exists)
        if init:
            self.vsctl("--retry", "init")  # the socket is there before the server listens on it

    def start_vswitchd(self, *inside: str) -> None:
        """Start it by the command ``inside``; without one, in a namespace of its own."""
        enter = inside or ("unshare", "--net")
        self._start("ovs-vswitchd", *enter, "ovs-vswitchd", f"unix:{self.socket}")
        eventually(
            lambda: self.vsctl("get", "Open_vSwitch", ".", "ovs_version", "dpdk_initialized")
        )

    def start_controller(self) -> None:
        self._start("ovn-controller", "unshare", "--net", "ovn-controller", f"unix:{self.socket}")

    def _start(self, name: str, *command: str) -> None:
        places = {
            f"{tool}_{kind}DIR": str(self.directory)
            for tool in ("OVS", "OVN")
            for kind in ("RUN", "LOG", "DB")
        }
        flags = ("--pidfile", "--log-file", "-vconsole:off")
        self._children[name] = subprocess.Popen(
            [*command, *flags], env=os.environ | places, cwd=self.directory
        )
        eventually((self.directory / f"{name}.pid").exists)

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def kill(self, name: str) -> None:
        child = self._children.pop(name)

        child.kill()
        child.wait()
        (self.directory / f"{name}.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        for name in reversed(tuple(self._children)):
            self.kill(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self._children[name].send_signal(number)

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl, as a foreign client, and return its output."""
        within = f"--timeout={10 * TIMEOUT_FACTOR:.0f}"
        command = ["ovs-vsctl", f"--db=unix:{self.socket}", "--no-wait", within, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def ids(self, name: str) -> dict[str, str]:
        """Return Interface.external_ids, as a foreign client reads them."""
        found = self.vsctl(
            "--format=json", "--columns=external_ids", "find", "Interface", f"name={name}"
        )
        rows = json.loads(found)["data"]
        return dict(rows[0][0][1]) if rows else {}

    def ip(self, *arguments: str) -> None:
        """Run iproute2 in the namespace of ovs-vswitchd."""
        enter = ["nsenter", f"--net=/proc/{self.pid('ovs-vswitchd')}/ns/net", "ip", *arguments]
        subprocess.run(enter, check=True)

    def has_link(self, name: str) -> bool:
        return f"{name}:" in Path(f"/proc/{self.pid('ovs-vswitchd')}/net/dev").read_text()

    def commits(self) -> int:
        """Return the number of transactions in the database's log."""
        return self.log.read_bytes().count(b"OVSDB JSON ")


class Hints:
    """The notifications that a driver sends to its loop."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lost = 0

    async def driver(self, switch: PrivateSwitch) -> AsyncIterator[Ovs]:
        ovs = Ovs(
            str(switch.socket),
            "br-int",
            changed=lambda mark, name: self.changes.append((mark, name)),
            resync=self._everything,
            link_exists=switch.has_link,
        )
        ovs.start()
        await ovs.ready()
        yield ovs
        await ovs.close()

    def _everything(self) -> None:
        self.lost += 1


def desired_port(attachment: Attachment, bridge: str = "br-int", **ids: str) -> Port:
    """Return the port that this attachment should have."""
    node = Node(bridge, 1400, userspace=True)
    allocation = Allocation(
        (ip_interface("10.16.0.5/16"),), "02:00:00:00:00:01", "sw", (), default_route=False
    )
    port = desired.port(attachment, allocation, node, host_link(*attachment.key))
    return replace(port, external_ids=frozenset((port.ids | ids).items()))


def ensure(port: Port) -> list[Step]:
    return [Step(Verb.ENSURE, port)]


def remove(resource: Resource) -> list[Step]:
    return [Step(Verb.REMOVE, resource)]
