"""Run an agent that is killed, or stopped, amid the move of an uplink.

`python -m kit.killed agent …` runs like `ovnlet`. After OVNLET_STEPS steps on an uplink the process
gets SIGKILL, before the next step. With OVNLET_STOPS it gets SIGSTOP instead, once, when the NIC
has joined the bridge: what the move needs can vanish then, and the move cannot be over before.
"""

import os
import signal

import ovnlet.agent.underlay
from ovnlet.__main__ import main
from ovnlet.core.plan import Plan, Verb
from ovnlet.core.resources import UplinkPort
from ovnlet.core.underlay.networks import ProviderIdentity
from ovnlet.drivers.uplink_host import UplinkHost

STEPS, STOPS = "OVNLET_STEPS", "OVNLET_STOPS"


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


class StoppedHost(UplinkHost):
    """The real host, which stops the process once, until SIGCONT."""

    stops = True

    async def apply(self, identity: ProviderIdentity, plan: Plan) -> None:
        """Carry out each step by itself."""
        for step in plan:
            await super().apply(identity, (step,))
            joins = isinstance(step.resource, UplinkPort) and step.verb is Verb.ENSURE
            if joins and self.stops:
                self.stops = False
                os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    stops = STOPS in os.environ
    ovnlet.agent.underlay.__dict__["UplinkHost"] = StoppedHost if stops else KilledHost
    main(prog_name="ovnlet")
