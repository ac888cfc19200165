"""Which method of an agent answers a request, for every socket and format alike."""

import json
from dataclasses import replace
from typing import Protocol

from ovnlet_cni import netns, request
from ovnlet_cni.errors import NEWEST_VERSION, SUPPORTED_VERSIONS
from ovnlet_cni.pending_deletes import PendingDeletes
from ovnlet_cni.request import Attach, Check, Collect, Detach, Status, Version
from ovnlet_cni.result import Attached


class Agent(Protocol):
    """What the server needs of an agent.

    Every method may raise CniError, and is cancelled when its client disconnects.
    """

    async def add(self, attach: Attach, /) -> Attached:
        """Attach the pod and return what it has."""

    async def delete(self, detach: Detach, /) -> None:
        """Detach the pod. Succeed if there is nothing to detach."""

    async def check(self, attach: Attach, /) -> None:
        """Return if the attachment is as in the result of its ADD."""

    async def status(self) -> None:
        """Return if pods can be attached now."""

    async def gc(self, valid: frozenset[tuple[str, str]], /) -> None:
        """Detach everything that is not among the valid pairs of container ID and interface."""

    async def allocate(self, attach: Attach, /) -> Attached:
        """Return the addresses of an interface that another plugin makes. Touch nothing."""

    async def release(self, detach: Detach, /) -> None:
        """Forget the addresses that `allocate` has returned."""


class Dispatch:
    """Calls the agent. A request for addresses alone touches nothing of the node."""

    def __init__(self, agent: Agent, pending_deletes: PendingDeletes) -> None:
        """Make it for one agent."""
        self._agent, self._pending_deletes = agent, pending_deletes

    async def add(self, attach: Attach) -> Attached:
        """Return what an ADD ends with, without the results of plugins before it."""
        netns.require_foreign(attach.netns, attach.netns_override)
        if attach.ipam_only:
            return await self._agent.allocate(attach)
        # A runtime never runs two verbs for one container at once, so a pending delete is older
        # than this ADD and obsolete.
        self._pending_deletes.remove(attach.container_id, attach.ifname)
        return await self._agent.add(attach)

    async def delete(self, detach: Detach) -> None:
        """Carry out a DEL."""
        if detach.ipam_only:
            await self._agent.release(detach)
            return
        await self._agent.delete(detach)
        self._pending_deletes.remove(detach.container_id, detach.ifname)

    async def answer(self, call: request.Request) -> bytes:
        """Return what the plugin prints on stdout for a call that succeeds. Raises CniError."""
        match call:
            case Attach():
                return await self._added(call)
            case Check(attach) if not attach.ipam_only:
                netns.require_foreign(attach.netns, attach.netns_override)
                await self._agent.check(attach)
            case Detach():
                await self.delete(call)
            case Collect(ipam_only=False):
                await self._agent.gc(call.valid)
            case Status():
                await self._agent.status()
            case Check() | Collect():  # of another plugin's interfaces
                pass
            case Version():
                answer = {"cniVersion": NEWEST_VERSION, "supportedVersions": SUPPORTED_VERSIONS}
                return json.dumps(answer).encode() + b"\n"
        return b""

    async def _added(self, attach: Attach) -> bytes:
        attached = await self.add(attach)
        if attach.ipam_only:  # the other plugin has the interfaces
            ips = tuple(replace(ip, interface=None) for ip in attached.ips)
            attached = replace(attached, interfaces=(), ips=ips)
        return attached.after(attach.prev_result).render(attach.version)
