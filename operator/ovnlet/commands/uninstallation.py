"""`ovnlet uninstall`: the removal, told line by line."""

import asyncio

import click

from ovnlet.core.errors import OvnletError
from ovnlet.core.settings import Settings
from ovnlet.removal import remove


def uninstalled(settings: Settings, *, cut_off: bool) -> None:
    try:
        asyncio.run(remove(settings, cut_off=cut_off, say=click.echo))
    except (OvnletError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("nothing of ovnlet is left on this node")
