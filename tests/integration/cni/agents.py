"""A scripted agent behind the real server: it records calls, and answers as a test sets it up."""

import asyncio
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from ovnlet_cni.request import Attach, Detach
from ovnlet_cni.result import Attached, AttachedInterface, AttachedIp, AttachedRoute

ATTACHED = Attached(
    interfaces=(
        AttachedInterface("eth0", "00:00:00:00:00:02", 1400, "/run/netns/a"),
        AttachedInterface("c0ffee_h", mtu=1400),
    ),
    ips=(
        AttachedIp(IPv4Interface("10.16.0.2/16"), IPv4Address("10.16.0.1"), 0),
        AttachedIp(IPv6Interface("fd00::2/64"), IPv6Address("fd00::1"), 0),
    ),
    routes=(
        AttachedRoute(IPv4Network("0.0.0.0/0"), IPv4Address("10.16.0.1"), priority=100),
        AttachedRoute(IPv6Network("::/0"), IPv6Address("fd00::1")),
    ),
)


class ScriptedAgent:
    """Answers with ATTACHED, or raises `failure`; while `held` is set it does not answer."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.failure: Exception | None = None
        self.held = False
        self.undo_seconds = 0.0
        self.entered = asyncio.Event()
        self.released = asyncio.Event()
        self.undone = asyncio.Event()

    async def add(self, attach: Attach, /) -> Attached:
        await self._serve(attach)
        return ATTACHED

    async def delete(self, detach: Detach, /) -> None:
        await self._serve(detach)

    async def check(self, attach: Attach, /) -> None:
        await self._serve(attach)

    async def allocate(self, attach: Attach, /) -> Attached:
        await self._serve(attach)
        return Attached(ATTACHED.interfaces[:1], ATTACHED.ips, ATTACHED.routes)

    async def release(self, detach: Detach, /) -> None:
        await self._serve(detach)

    async def status(self) -> None:
        await self._serve("STATUS")

    async def gc(self, valid: frozenset[tuple[str, str]], /) -> None:
        await self._serve(valid)

    async def _serve(self, call: object) -> None:
        self.calls.append(call)
        self.entered.set()
        try:
            if self.held:
                await self.released.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(self.undo_seconds)
            self.undone.set()
            raise
        if self.failure is not None:
            raise self.failure
