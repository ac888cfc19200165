"""An Open vSwitch of a test's own: its database, ovs-vswitchd and ovn-controller, in a directory and a namespace."""

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

# How much longer than usual foreign processes may take: more than once where a processor is emulated.
TIMEOUT_FACTOR = float(os.environ.get("OVNLET_TEST_PATIENCE") or 1)


def eventually(so: Callable[[], object], within: float = 5.0) -> None:
    """For what foreign processes do in their own time."""
    end = time.monotonic() + within * TIMEOUT_FACTOR
    while not so():
        assert time.monotonic() < end, f"not so within {within * TIMEOUT_FACTOR} s"
        time.sleep(0.01)


async def until(so: Callable[[], object], within: float = 6.0) -> None:
    """The same, while the event loop goes on."""
    async with asyncio.timeout(within * TIMEOUT_FACTOR):
        while not so():  # noqa: ASYNC110 - foreign processes set no event
            await asyncio.sleep(0.01)


class PrivateSwitch:
    """Processes are children of the test and end by their pid; links live in a namespace that goes with them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "db.sock"
        self.log = directory / "conf.db"
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.recreate()

    def recreate(self) -> None:
        """New, empty databases."""
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
            self.vsctl("init")

    def start_vswitchd(self) -> None:
        self._start("ovs-vswitchd", "unshare", "--net", "ovs-vswitchd", f"unix:{self.socket}")
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
        """A foreign peer's write or look."""
        command = ["ovs-vsctl", f"--db=unix:{self.socket}", "--no-wait", "--timeout=10", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def ids(self, name: str) -> dict[str, str]:
        """Interface.external_ids, as a foreign peer sees them."""
        told = self.vsctl(
            "--format=json", "--columns=external_ids", "find", "Interface", f"name={name}"
        )
        rows = json.loads(told)["data"]
        return dict(rows[0][0][1]) if rows else {}

    def ip(self, *arguments: str) -> None:
        """iproute2 in the namespace of ovs-vswitchd."""
        enter = ["nsenter", f"--net=/proc/{self.pid('ovs-vswitchd')}/ns/net", "ip", *arguments]
        subprocess.run(enter, check=True)

    def has_link(self, name: str) -> bool:
        return f"{name}:" in Path(f"/proc/{self.pid('ovs-vswitchd')}/net/dev").read_text()

    def commits(self) -> int:
        """Transactions in the database's own log."""
        return self.log.read_bytes().count(b"OVSDB JSON ")


class Hints:
    """What a driver tells its loop."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lost = 0

    async def listening(self, switch: PrivateSwitch) -> AsyncIterator[Ovs]:
        driver = Ovs(
            str(switch.socket),
            "br-int",
            changed=lambda mark, name: self.changes.append((mark, name)),
            lost=self._everything,
            link_exists=switch.has_link,
        )
        driver.start()
        await driver.ready()
        yield driver
        await driver.close()

    def _everything(self) -> None:
        self.lost += 1


def desired_port(attachment: Attachment, bridge: str = "br-int", **ids: str) -> Port:
    """The port that this attachment should have."""
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
