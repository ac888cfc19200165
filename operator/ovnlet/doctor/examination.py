"""Runs all parts of an examination: quick ones in turn, those that wait at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ovnlet.core.settings import Settings
from ovnlet.doctor import agent, files, interference, kernel, mounts, reboot, server, switch
from ovnlet.doctor.findings import Finding


async def _files(settings: Settings) -> list[Finding]:
    return [finding async for finding in files.examine(settings)]


_SLOW_PARTS: Mapping[str, Callable[[Settings], Awaitable[list[Finding]]]] = {
    "Open vSwitch and OVN": switch.examine,
    "the API server": server.examine,
    "records and files": _files,
    "the agent": agent.examine,
}


async def examine(
    settings: Settings, update: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Return the findings of all parts, in order from the kernel up.

    ``update`` gets a text that names what is still waited for.
    """
    left = dict(_SLOW_PARTS)

    async def part(name: str) -> list[Finding]:
        found = await _SLOW_PARTS[name](settings)
        del left[name]
        update(f"waiting for {', '.join(left)}" if left else "done")
        return found

    waiting = asyncio.gather(*(part(name) for name in _SLOW_PARTS))
    here = [
        *kernel.examine(settings),
        *mounts.examine(settings),
        *interference.examine(settings),
        *reboot.examine(settings),
    ]
    return [*here, *(finding for found in await waiting for finding in found)]
