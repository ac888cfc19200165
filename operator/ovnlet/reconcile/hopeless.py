"""What an ADD waits for outside the loop, and an early end to waits for what cannot come."""

import asyncio
from collections.abc import Awaitable, Callable

from ovnlet.core import annotations
from ovnlet.core.errors import NotReady
from ovnlet.core.identity import Attachment
from ovnlet.reconcile.scopes.pod import PodScope

# Seconds until a wait is doubted, and between two looks. OVN installs a port within milliseconds,
# on a busy node within a second or two.
PATIENCE, AGAIN = 3.5, 0.5
# Seconds more for each port that waits: OVN installs a burst at once, and takes 6 ms a port for it
# on an idle machine.
PER_PORT = 0.05


class Waits:
    """The waits of an ADD. A hopeless one raises NotReady with what to do.

    That is after four seconds, and 50 ms more for each other port that waits.

    ``lacks_subnet`` returns whether all Subnets are known and none has this name. ``unjoined``
    returns why a provider network may not be joined on this node, None where the pods of that
    Subnet do not need it.
    """

    def __init__(
        self,
        scope: PodScope,
        lacks_subnet: Callable[[str], bool],
        unjoined: Callable[[str, str], str | None],
    ) -> None:
        self._scope, self._lacks_subnet, self._unjoined = scope, lacks_subnet, unjoined
        self._installing = 0

    async def installed(self, attachment: Attachment) -> None:
        """Return when OVN has installed the port. In a burst, a wait is doubted later."""
        self._installing += 1
        try:
            await _unless_hopeless(
                lambda: self._scope.host.installed(attachment),
                lambda: self._port_fault(attachment),
                lambda: PATIENCE + PER_PORT * (self._installing - 1),
            )
        finally:
            self._installing -= 1

    async def joined(self, attachment: Attachment) -> None:
        """Return when the pod's switch is joined to its physical network, if it has one."""
        text, provider = self._scope.text(attachment) or {}, attachment.provider
        network = annotations.provider_network(text, provider)
        switch = annotations.switch(text, provider)

        async def fault() -> str | None:
            why = self._unjoined(network, switch)
            return f"ProviderNetwork {network} is not joined on this node: {why}" if why else None

        if network and self._unjoined(network, switch):
            await _unless_hopeless(lambda: self._scope.host.joined(switch), fault)

    async def changed(self, attachment: Attachment, changed: asyncio.Event) -> None:
        """Return when the pod has changed. Only while its Subnet is gone is this wait doubted."""
        if await self._subnet_fault(attachment) is None:
            await changed.wait()
        else:
            await _unless_hopeless(changed.wait, lambda: self._subnet_fault(attachment))

    async def _port_fault(self, attachment: Attachment) -> str | None:
        """Return the cause before the consequence: a Subnet takes its logical ports with it."""
        return await self._subnet_fault(attachment) or await self._scope.host.hopeless(attachment)

    async def _subnet_fault(self, attachment: Attachment) -> str | None:
        name = annotations.switch(self._scope.text(attachment) or {}, attachment.provider)
        if not name or not self._lacks_subnet(name):
            return None
        return f"Subnet {name} of the pod does not exist: create it, or delete the pod"


async def _unless_hopeless(
    wait: Callable[[], Awaitable[object]],
    fault: Callable[[], Awaitable[str | None]],
    patience: Callable[[], float] = lambda: PATIENCE,
) -> None:
    """Await ``wait()``; raise NotReady with a fault that two looks in a row have found.

    ``wait`` returns at once where what it waits for has happened, so it may be ended and repeated.
    """
    loop = asyncio.get_running_loop()
    began, before = loop.time(), None
    while (left := began + patience() - loop.time()) > 0:
        if await _ended(wait, left):
            return
    while True:
        found = await fault()
        if await _ended(wait, 0):
            return
        if found and found == before:
            raise NotReady(found)
        before = found
        if await _ended(wait, AGAIN):
            return


async def _ended(wait: Callable[[], Awaitable[object]], seconds: float) -> bool:
    """Return whether the wait ends within that time. Raise what it raises."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await wait()
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True
