"""The safety net: at intervals, a look at every attachment."""

import asyncio
import random
from collections.abc import Callable, Coroutine


async def resync(
    every: float, look: Callable[[], Coroutine[None, None, None]], *, soon: float
) -> None:
    """Call ``look`` once ``soon``, then for ever ``every`` seconds, give or take a tenth so that nodes drift apart."""
    await asyncio.sleep(soon)
    await look()
    while True:
        await asyncio.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
        await look()
