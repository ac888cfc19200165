"""Run an agent that is killed amid the move of an uplink.

`python -m kit.killed agent …` runs like `ovnlet`. After OVNLET_STEPS steps on an uplink the process
gets SIGKILL, before the next step.
"""

import os
import signal

import ovnlet.agent.underlay
from ovnlet.__main__ import main
from ovnlet.core.plan import Plan
from ovnlet.core.underlay.networks import ProviderIdentity
from ovnlet.drivers.uplink_host import UplinkHost

STEPS = "OVNLET_STEPS"


class KilledHost(UplinkHost):
    """The real host, which ends the process after some steps."""

    left = int(os.environ.get(STEPS, "0"))

    async def apply(self, identity: ProviderIdentity, plan: Plan) -> None:
        """Carry out each step by itself."""
        for step in plan:
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            await super().apply(identity, (step,))
            self.left -= 1


if __name__ == "__main__":
    ovnlet.agent.underlay.__dict__["UplinkHost"] = KilledHost
    main(prog_name="ovnlet")
