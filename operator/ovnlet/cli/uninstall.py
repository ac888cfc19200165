"""`ovnlet uninstall`: runs a removal, prints what it does, and waits if asked to.

What is removed, and in which order, belongs in `cli.removal` (a node) and `controller.removal`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import click

from ovnlet import logs
from ovnlet.cli.hand_back import hand_back
from ovnlet.cli.progress import Update, progress
from ovnlet.cli.removal import remove
from ovnlet.core.errors import InUse, OvnletError
from ovnlet.core.settings import ControllerSettings, Settings

_RETRY_INTERVAL = 2.0  # seconds
_Removal = Callable[[], Awaitable[None]]


def run_uninstall(settings: Settings, *, cut_off: bool, wait: bool, back: bool) -> None:
    """Remove everything of ovnlet from this node and print each step.

    With ``back`` the pods stay, for kube-ovn-cni. With ``wait`` it first waits until the agent and
    the pods are gone. Raises ClickException if they are there, or if something could not be
    removed.
    """
    if back:
        _run(lambda: hand_back(settings, say=click.echo), wait)
        return click.echo("the node is left to kube-ovn-cni")
    _run(lambda: remove(settings, cut_off=cut_off, say=click.echo), wait)
    return click.echo("nothing of ovnlet is left on this node")


def run_cluster_uninstall(settings: ControllerSettings, *, cut_off: bool, wait: bool) -> None:
    """Remove what the controller made in the cluster, as ``run_uninstall`` does for a node."""
    # It imports the library of OVSDB, which a node's removal does not need.
    from ovnlet.controller.removal import remove_cluster  # noqa: PLC0415

    logs.configure(settings)
    _run(lambda: remove_cluster(settings, cut_off=cut_off, say=click.echo), wait)
    click.echo("nothing of ovnlet's controller is left in the cluster")


def _run(removal: _Removal, wait: bool) -> None:
    try:
        with progress("removing") as update:
            asyncio.run(_repeat(removal, wait, update))
    except (OvnletError, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _repeat(removal: _Removal, wait: bool, update: Update) -> None:
    """Run the removal; with ``wait`` repeat it while it raises InUse."""
    printed = ""
    while True:
        try:
            update("removing")
            return await removal()
        except InUse as reason:
            if not wait:
                raise
            if str(reason) != printed:
                click.echo(f"waiting: {reason}")
            printed = str(reason)
            update("waiting")
            await asyncio.sleep(_RETRY_INTERVAL)
