"""A replica of the controller: it waits for the Lease, and runs a Controller while it holds it."""

import asyncio
from functools import partial

from ovnlet import logs
from ovnlet.controller import term
from ovnlet.controller.http import HttpEndpoints
from ovnlet.controller.wiring import Controller
from ovnlet.core.settings import ControllerSettings
from ovnlet.drivers.northbound.probe import Probe
from ovnlet.kube.lease import Lease
from ovnlet.kube.session import Access
from ovnlet.serving import until_stopped


def serve(settings: ControllerSettings) -> int:
    """Run a replica until SIGTERM or SIGINT, and return the exit code."""
    logs.configure(settings)
    return until_stopped(lambda: replicate(settings))


async def replicate(settings: ControllerSettings) -> None:
    """Lead whenever this replica holds the Lease and has the database. Returns only when cancelled.

    Each term starts with a new Controller: nothing that a leader knows outlives its term. Raises
    BadCredentials, OSError if the HTTP address is in use, or the error that ended a term.
    """
    access = Access(settings.kubeconfig)
    lease = Lease(
        access, settings.namespace, settings.lease, settings.identity, settings.lease_seconds
    )
    async with HttpEndpoints(settings.listen) as endpoints:
        while True:
            async with Probe(settings) as probe:
                await lease.acquire(partial(term.able, probe))
            endpoints.leading = True
            leading = asyncio.create_task(
                Controller(settings, access, endpoints, lease).run(), name="term"
            )
            keeping = asyncio.create_task(lease.keep(), name="lease")
            try:
                await asyncio.wait({leading, keeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leading.cancel()
                keeping.cancel()
                await asyncio.wait({leading, keeping})
                endpoints.leading = endpoints.ready = False
                await lease.release()
            if not leading.cancelled() and (error := leading.exception()):
                term.conclude(error)
