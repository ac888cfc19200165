"""An agent that kills itself: its host applies each plan step by step, and after so many of them comes SIGKILL.

Run like `ovnlet`; the number of steps is in OVNLET_KILLED_AT.
"""

import os
import signal
from typing import NoReturn

import ovnlet.agent
from ovnlet.__main__ import main
from ovnlet.core.attachment import Attachment
from ovnlet.core.plan import Plan
from ovnlet.drivers.host import LocalHost


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


class KillingHost(LocalHost):
    """The real one but for its end."""

    steps_left = int(os.environ["OVNLET_KILLED_AT"])

    async def apply(self, attachment: Attachment, plan: Plan) -> None:
        for step in plan:
            if self.steps_left == 0:
                die()
            await super().apply(attachment, (step,))
            self.steps_left -= 1
        if self.steps_left == 0:
            die()


if __name__ == "__main__":
    ovnlet.agent.LocalHost = KillingHost  # type: ignore[misc]
    main(prog_name="ovnlet")
