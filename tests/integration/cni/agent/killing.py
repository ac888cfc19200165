"""An agent that kills itself: each plan is applied step by step, and SIGKILL comes after so many of them.

Run like `ovnlet`. OVNLET_KILLED_AT is `<steps>,<attachments>`: so many attachments wait for each other at that step.
"""

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from typing import ClassVar, NoReturn

import ovnlet.agent.wiring
from ovnlet.__main__ import main
from ovnlet.core.identity import Attachment, AttachmentKey
from ovnlet.core.plan import Plan
from ovnlet.drivers.host import LocalHost

STEPS, ATTACHMENTS = map(int, os.environ["OVNLET_KILLED_AT"].split(","))


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


class KillingHost(LocalHost):
    """The real one but for its end."""

    steps: ClassVar = Counter[AttachmentKey]()
    waiting: ClassVar = set[AttachmentKey]()

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        for step in plan:
            await self._survive(attachment.key)
            await super().apply(attachment, (step,))
            self.steps[attachment.key] += 1
        await self._survive(attachment.key)

    async def _survive(self, key: AttachmentKey) -> None:
        if self.steps[key] == STEPS:
            self.waiting.add(key)
            if len(self.waiting) == ATTACHMENTS:
                die()
            # An attachment alone may take a step more, such as one that ovn-controller's own unrest asks for.
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await asyncio.Event().wait()
            self.waiting.discard(key)


if __name__ == "__main__":
    ovnlet.agent.wiring.__dict__["LocalHost"] = KillingHost
    main(prog_name="ovnlet")
