"""`ovnlet uninstall`: the removal, told line by line."""

import asyncio

import click

from ovnlet.cli.progress import Say, progress
from ovnlet.cli.removal import InUse, remove
from ovnlet.core.errors import OvnletError
from ovnlet.core.settings import Settings

_PAUSE = 2.0


def uninstalled(settings: Settings, *, cut_off: bool, wait: bool) -> None:
    try:
        with progress("removing") as show:
            asyncio.run(_uninstall(settings, cut_off=cut_off, wait=wait, show=show))
    except (OvnletError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("nothing of ovnlet is left on this node")


async def _uninstall(settings: Settings, *, cut_off: bool, wait: bool, show: Say) -> None:
    told = ""
    while True:
        try:
            show("removing")
            return await remove(settings, cut_off=cut_off, say=click.echo)
        except InUse as reason:
            if not wait:
                raise
            if str(reason) != told:
                click.echo(f"waiting: {reason}")
            told = str(reason)
            show("waiting")
            await asyncio.sleep(_PAUSE)
