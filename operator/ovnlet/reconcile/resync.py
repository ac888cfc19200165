"""The timer of the resync, which finds what no notification reported."""

import asyncio
import random
from collections.abc import Callable, Coroutine


async def resync(
    every: float, look: Callable[[], Coroutine[None, None, None]], *, soon: float
) -> None:
    """Call ``look`` after ``soon`` seconds, then every ``every`` seconds until cancelled.

    Intervals vary by a tenth, so that nodes which started together do not stay in step.
    """
    await asyncio.sleep(soon)
    await look()
    while True:
        await asyncio.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
        await look()
