"""A replica of the controller: it waits for the Lease, and runs a Controller while it holds it."""

import asyncio
from functools import partial

import structlog

from ovnlet import logs
from ovnlet.controller import term
from ovnlet.controller.http import HttpEndpoints
from ovnlet.controller.wiring import Controller
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.probe import Probe
from ovnlet.kube.events import Recorder
from ovnlet.kube.kube_ovn import Deployment, KubeOvn
from ovnlet.kube.lease import Lease
from ovnlet.kube.session import Access
from ovnlet.serving import until_stopped

log = structlog.get_logger("replica")


def serve(settings: ControllerSettings) -> int:
    """Run a replica until SIGTERM or SIGINT, and return the exit code."""
    logs.configure(settings)
    return until_stopped(lambda: replicate(settings))


async def replicate(settings: ControllerSettings) -> None:
    """Lead whenever this replica holds the Lease and has the database. Returns only when cancelled.

    Each term starts with a new Controller: nothing that a leader knows outlives its term. A replica
    does not lead while Kube-OVN's controller is in the cluster. Raises BadCredentials, OSError if
    the HTTP address is in use, or the error that ended a term.
    """
    endpoints = HttpEndpoints(settings.listen)
    access = Access(settings.kubeconfig, counted=endpoints.requested)
    lease = Lease(
        access, settings.namespace, settings.lease, settings.identity, settings.lease_seconds
    )
    async with (
        endpoints,
        Neighbour(access, settings.identity, endpoints) as neighbour,
    ):
        while True:
            await neighbour.gone()
            async with Probe(settings) as probe:
                await lease.acquire(partial(term.able, probe))
            endpoints.leading = True
            leading = asyncio.create_task(
                Controller(settings, access, endpoints, lease).run(), name="term"
            )
            ends = {
                asyncio.create_task(lease.keep(), name="lease"),
                asyncio.create_task(neighbour.appeared(), name="neighbour"),
            }
            try:
                await asyncio.wait({leading, *ends}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (leading, *ends):
                    task.cancel()
                await asyncio.wait({leading, *ends})
                endpoints.leading = endpoints.ready = False
                await lease.release()
            term.conclude_all((leading, *ends))


class Neighbour:
    """Kube-OVN's controller, as an async context manager within which Events can be sent."""

    def __init__(self, access: Access, identity: str, endpoints: HttpEndpoints) -> None:
        self._kube_ovn, self._recorder = KubeOvn(access), Recorder(access, identity)
        self._endpoints = endpoints

    async def __aenter__(self) -> "Neighbour":
        """Begin to send Events."""
        self._sending = asyncio.create_task(self._recorder.run(), name="Events of the replica")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send no more Events."""
        self._sending.cancel()
        await asyncio.wait({self._sending})

    async def gone(self) -> None:
        """Wait until it is not in the cluster; report it meanwhile by log, Event and probes."""
        await self._kube_ovn.wait(self._is_gone)

    async def appeared(self) -> None:
        """Wait until it is in the cluster."""
        await self._kube_ovn.wait(lambda found: found is not None)

    def _is_gone(self, found: Deployment | None) -> bool:
        self._endpoints.refusal = found.why if found is not None else ""
        if found is not None:
            log.error(found.why)
            self._recorder.record(found, "Warning", "NotLeading", found.why)
        return found is None
