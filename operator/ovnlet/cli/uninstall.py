"""`ovnlet uninstall`: runs `removal`, prints what it does, and waits if asked to.

What is removed, and in which order, belongs in `removal`.
"""

import asyncio

import click

from ovnlet.cli.progress import Update, progress
from ovnlet.cli.removal import InUse, remove
from ovnlet.core.errors import OvnletError
from ovnlet.core.settings import Settings

_RETRY_INTERVAL = 2.0  # seconds


def run_uninstall(settings: Settings, *, cut_off: bool, wait: bool) -> None:
    """Remove everything of ovnlet and print each step.

    With ``wait`` it first waits until the agent and the pods are gone. Raises ClickException if
    they are there, or if something could not be removed.
    """
    try:
        with progress("removing") as update:
            asyncio.run(_uninstall(settings, cut_off=cut_off, wait=wait, update=update))
    except (OvnletError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("nothing of ovnlet is left on this node")


async def _uninstall(settings: Settings, *, cut_off: bool, wait: bool, update: Update) -> None:
    """Call ``remove``; with ``wait`` repeat it while it raises InUse."""
    printed = ""
    while True:
        try:
            update("removing")
            return await remove(settings, cut_off=cut_off, say=click.echo)
        except InUse as reason:
            if not wait:
                raise
            if str(reason) != printed:
                click.echo(f"waiting: {reason}")
            printed = str(reason)
            update("waiting")
            await asyncio.sleep(_RETRY_INTERVAL)
