"""Announce a pod's addresses on the wire, once for each port or link that a pass made.

A peer that knew the addresses before, such as a pod or a switch of the underlay, otherwise keeps
what it knew until that expires. OVN drops all frames of a port that it has not installed, so an
announcement waits for that, and neither an ADD nor a repair waits for it.
"""

import asyncio

import structlog

from ovnlet.core.errors import OvnletError
from ovnlet.core.identity import Attachment, AttachmentKey
from ovnlet.core.plan import Verb
from ovnlet.core.resources import Network, Port, Veth
from ovnlet.reconcile.outcome import Outcome
from ovnlet.reconcile.pod_host import PodHost

# Seconds from the installation to the announcement: in a burst, the other pods' ADDs come first.
LATER = 0.5
# Announcements at once. Each takes one of the few threads that also delete links.
_AT_ONCE = 3

log = structlog.get_logger("announcements")


def makes_presence(outcome: Outcome) -> bool:
    """Return whether the pass made the port or the link of what is desired."""
    return any(
        step.verb is Verb.ENSURE and step.was is None and isinstance(step.resource, Port | Veth)
        for step in outcome.steps
    )


class Announcements:
    """What is to be announced, at most one announcement for each attachment."""

    def __init__(self, host: PodHost) -> None:
        self._host = host
        self._tasks: dict[AttachmentKey, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def add(self, attachment: Attachment, network: Network) -> None:
        """Announce the addresses of the network soon after OVN has installed the port.

        Return at once. One that still waits is replaced.
        """
        if (earlier := self._tasks.get(attachment.key)) is not None:
            earlier.cancel()
        self._tasks[attachment.key] = asyncio.create_task(
            self._announce(attachment, network), name=f"announce {attachment.key}"
        )

    async def forget(self, key: AttachmentKey) -> None:
        """Announce nothing more of this attachment. Return once its socket is closed."""
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _announce(self, attachment: Attachment, network: Network) -> None:
        try:
            await self._host.installed(attachment)
            await asyncio.sleep(LATER)
            async with self._turns:
                await self._host.announce(attachment, network)
        except OvnletError as error:
            log.warning("addresses not announced", attachment=attachment.key, error=str(error))
        finally:
            if self._tasks.get(attachment.key) is asyncio.current_task():
                del self._tasks[attachment.key]
