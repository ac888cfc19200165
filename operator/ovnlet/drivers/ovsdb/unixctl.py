"""Control sockets of OVS and OVN daemons: what `ovs-appctl` does, without starting a process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ovnlet.core.errors import NotReady, OvnletError
from ovnlet.drivers.ovsdb import jsonrpc

_CALL_TIMEOUT = 1.0


async def call(socket: Path, method: str, *arguments: str, within: float = _CALL_TIMEOUT) -> str:
    """Return the daemon's answer. Wait for it at most ``within`` seconds.

    Raise Refused with the daemon's text, NotReady if no answer comes in time or none can come.
    """
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
    """Return the path of the daemon's control socket.

    The file name contains the pid as the daemon's own pid namespace counts it, so it is read from
    the pid file. Without a usable one, return the newest socket of that daemon. Raise NotReady if
    there is none or if the directory cannot be read.
    """
    try:
        return run_dir / f"{daemon}.{int((run_dir / f'{daemon}.pid').read_text())}.ctl"
    except (OSError, ValueError):
        pass
    try:
        sockets = [(_made_at(path), path) for path in run_dir.glob(f"{daemon}.*.ctl")]
    except OSError as error:
        raise NotReady(f"{run_dir} cannot be read: {error.strerror}") from error
    present = [(made_at, path) for made_at, path in sockets if made_at is not None]
    if not present:
        raise NotReady(f"{run_dir} has neither a pid file nor a control socket")
    return max(present)[1]


def _made_at(socket: Path) -> float | None:
    """Return when the socket was made; None if it vanished meanwhile, because its daemon ended."""
    try:
        return socket.lstat().st_mtime
    except FileNotFoundError:
        return None


async def part_health(ovs_run_dir: Path, ovn_run_dir: Path) -> Sequence[str]:
    """Return what is wrong with ovs-vswitchd and ovn-controller, one text per faulty daemon.

    The result is empty if both answer and ovn-controller is connected to its southbound database.
    """
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
