"""A program that serves until it is told to stop: the agent, or a replica of the controller."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog

from ovnlet.core.errors import OvnletError

log = structlog.get_logger("serving")


def until_stopped(serve: Callable[[], Coroutine[None, None, None]]) -> int:
    """Run until SIGTERM or SIGINT, by which it is cancelled; returns the exit code."""
    try:
        asyncio.run(_run(serve))
    except OvnletError as error:
        log.critical("cannot start", error=str(error))
        return 1
    return 0


async def _run(serve: Callable[[], Coroutine[None, None, None]]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    running = asyncio.create_task(serve(), name="serving")
    waiting = asyncio.create_task(stopping.wait(), name="signals")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
