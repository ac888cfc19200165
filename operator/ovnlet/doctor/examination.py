"""All parts of an examination, one after the other where they are quick and together where they wait."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ovnlet.core.settings import Settings
from ovnlet.doctor import agent, files, kernel, places, server, switch
from ovnlet.doctor.findings import Finding


async def _collected(settings: Settings) -> list[Finding]:
    return [finding async for finding in files.examine(settings)]


_WAITING: Mapping[str, Callable[[Settings], Awaitable[list[Finding]]]] = {
    "Open vSwitch and OVN": switch.examine,
    "the API server": server.examine,
    "records and files": _collected,
    "the agent": agent.examine,
}


async def examine(settings: Settings, say: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """What is wrong first in each part; the order of the parts is from the kernel up. ``say``: what is waited for."""
    left = dict(_WAITING)

    async def part(name: str) -> list[Finding]:
        found = await _WAITING[name](settings)
        del left[name]
        say(f"waiting for {', '.join(left)}" if left else "done")
        return found

    waiting = asyncio.gather(*(part(name) for name in _WAITING))
    here = [*kernel.examine(settings), *places.examine(settings)]
    return [*here, *(finding for found in await waiting for finding in found)]
