"""An agent that kills itself: it applies plans step by step, and SIGKILL follows a given step.

Run it like `ovnlet`. OVNLET_KILLED_AT is `<steps>,<attachments>`: that many attachments wait for
each other at that step before the kill.
"""

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from typing import ClassVar, NoReturn

import ovnlet.agent.wiring
from ovnlet.__main__ import main
from ovnlet.core.identity import AttachmentKey, PortIdentity
from ovnlet.core.plan import Plan
from ovnlet.drivers.sandbox_host import SandboxHost

STEPS, ATTACHMENTS = map(int, os.environ["OVNLET_KILLED_AT"].split(","))


def kill_self() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


class KillingHost(SandboxHost):
    """The real host, which kills the process after STEPS steps of ATTACHMENTS attachments."""

    steps: ClassVar = Counter[AttachmentKey]()
    waiting: ClassVar = set[AttachmentKey]()

    async def apply(self, identity: PortIdentity, plan: Plan) -> None:
        for step in plan:
            await self._kill_when_reached(identity.key)
            await super().apply(identity, (step,))
            self.steps[identity.key] += 1
        await self._kill_when_reached(identity.key)

    async def _kill_when_reached(self, key: AttachmentKey) -> None:
        if self.steps[key] == STEPS:
            self.waiting.add(key)
            if len(self.waiting) == ATTACHMENTS:
                kill_self()
            # A single attachment may need one step more, such as one that a change by
            # ovn-controller triggers.
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await asyncio.Event().wait()
            self.waiting.discard(key)


if __name__ == "__main__":
    ovnlet.agent.wiring.__dict__["SandboxHost"] = KillingHost
    main(prog_name="ovnlet")
