"""The control sockets of OVS and OVN daemons: what `ovs-appctl` does, without a process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.drivers.ovsdb import jsonrpc

_PATIENCE = 1.0


async def call(socket: Path, method: str, *arguments: str, within: float = _PATIENCE) -> str:
    """The daemon's answer. Raises Refused with its words, NotReady if there is none in time."""
    try:
        async with asyncio.timeout(within):
            peer = await jsonrpc.connect(str(socket), socket.name)
            try:
                return str(await peer.call(method, arguments))
            finally:
                peer.drop()
    except TimeoutError:
        raise NotReady(f"{socket.name} did not answer {method} for {within:g} s") from None


def control_socket(run_dir: Path, daemon: str) -> Path:
    """Where the daemon listens: its name carries the pid, as the daemon's own namespace counts it."""
    try:
        return run_dir / f"{daemon}.{int((run_dir / f'{daemon}.pid').read_text())}.ctl"
    except (OSError, ValueError):
        sockets = sorted(run_dir.glob(f"{daemon}.*.ctl"), key=lambda path: path.lstat().st_mtime)
    if not sockets:
        raise NotReady(f"{run_dir} has neither a pid file nor a control socket")
    return sockets[-1]


async def part_health(ovs_run_dir: Path, ovn_run_dir: Path) -> Sequence[str]:
    """What is wrong with ovs-vswitchd and ovn-controller; empty if both are alive and OVN is connected."""
    complaints = await asyncio.gather(_vswitchd(ovs_run_dir), _controller(ovn_run_dir))
    return [complaint for complaint in complaints if complaint]


async def _vswitchd(run_dir: Path) -> str | None:
    try:
        await call(control_socket(run_dir, "ovs-vswitchd"), "version")
    except OvnletError as error:
        return f"ovs-vswitchd: {error}"
    return None


async def _controller(run_dir: Path) -> str | None:
    try:
        answer = await call(control_socket(run_dir, "ovn-controller"), "connection-status")
    except OvnletError as error:
        return f"ovn-controller: {error}"
    return None if answer == "connected" else f"ovn-controller: southbound database {answer}"
