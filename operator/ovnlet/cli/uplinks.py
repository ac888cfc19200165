"""The part of a node's removal that gives interfaces back what moved to bridges."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ovnlet.core.errors import NotConverged
from ovnlet.core.settings import Settings
from ovnlet.core.underlay.networks import ProviderIdentity
from ovnlet.core.underlay.record import Record, on_nic
from ovnlet.drivers.ovs.boot_unit import DIRECTORY, BootUnit
from ovnlet.drivers.ovs.uplink_rows import UplinkRows
from ovnlet.drivers.store.journal import Journal
from ovnlet.drivers.uplink_host import UplinkHost
from ovnlet.reconcile.loop import converge

# Seconds. An address of IPv6 that has just moved is tentative, and routes by it are refused.
_SETTLES, _AGAIN = 10.0, 0.25


async def give_back(settings: Settings, say: Callable[[str], None]) -> None:
    """Put everything on each interface that an agent has moved; remove the records and the drop-in.

    It needs no API server. Raise NotReady, NodeFault or NotConverged; a second run then finds the
    record that is left.
    """
    directory = Path(settings.state_dir) / "uplinks"
    journal = Journal(directory)
    records = list(journal.read())
    if records:
        await _give_back(settings, journal, records, say)
    for each in (directory, directory.parent):
        with suppress(OSError):
            each.rmdir()
    if BootUnit(settings.systemd_dir or DIRECTORY).remove():
        say("removed the drop-in of Open vSwitch's unit")


async def _give_back(
    settings: Settings, journal: Journal, records: list[Record], say: Callable[[str], None]
) -> None:
    rows = UplinkRows(settings.ovsdb, settings.bridge, lambda: None)
    host = UplinkHost(rows, "https://localhost", settings.sysctl_dir)
    following = asyncio.create_task(rows.run(), name="rows of uplinks")
    try:
        await host.ready()
        for record in records:
            intent, identity = record.intent, ProviderIdentity(record.intent.network)
            grown = record.refreshed(host.entries(intent.nic, intent.bridge), (), time.time())
            back = replace(grown, phase="returning")
            journal.write(back)
            await _put_back(host, identity, back, say)
            journal.remove(intent.network)
            say(f"{intent.nic} has what it had before ProviderNetwork {intent.network}")
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _put_back(
    host: UplinkHost, identity: ProviderIdentity, back: Record, say: Callable[[str], None]
) -> None:
    """Make passes until all is on the interface. Raise NotConverged after ten seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _SETTLES
    while True:
        try:
            outcome = await converge(host, identity, on_nic(back))
        except NotConverged:
            if loop.time() > end:
                raise
            await asyncio.sleep(_AGAIN)
        else:
            for step in outcome.steps:
                say(f"uplink {step}")
            return
