"""The main function of a program that serves until a signal: the agent or the controller."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog

from ovnlet.core.errors import OvnletError

log = structlog.get_logger("serving")


def until_stopped(serve: Callable[[], Coroutine[None, None, None]]) -> int:
    """Run ``serve`` until it ends or SIGTERM or SIGINT cancels it, and return the exit code.

    The code is 1 if ``serve`` raised an OvnletError, which is logged, and 0 otherwise.
    """
    try:
        asyncio.run(_run(serve))
    except OvnletError as error:
        log.critical("cannot start", error=str(error))
        return 1
    return 0


async def _run(serve: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run ``serve``, and cancel it on a signal. Raises what ``serve`` raises."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    running = asyncio.create_task(serve(), name="serving")
    waiting = asyncio.create_task(stopping.wait(), name="signals")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
