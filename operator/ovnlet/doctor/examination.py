"""All parts of an examination, one after the other where they are quick and together where they wait."""

import asyncio

from ovnlet.core.settings import Settings
from ovnlet.doctor import agent, files, kernel, places, server, switch
from ovnlet.doctor.findings import Finding


async def examine(settings: Settings) -> list[Finding]:
    """What is wrong first in each part; the order of the parts is from the kernel up."""
    waiting = asyncio.gather(
        switch.examine(settings), server.examine(settings), _collected(settings), agent.examine(settings)
    )
    here = [*kernel.examine(settings), *places.examine(settings)]
    return [*here, *(finding for part in await waiting for finding in part)]


async def _collected(settings: Settings) -> list[Finding]:
    return [finding async for finding in files.examine(settings)]
