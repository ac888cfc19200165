"""`ovnlet uninstall`: runs `removal`, prints what it does, and waits if asked to.

What is removed, and in which order, belongs in `removal`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import click

from ovnlet.cli.hand_back import hand_back
from ovnlet.cli.progress import Update, progress
from ovnlet.cli.removal import InUse, remove
from ovnlet.core.errors import OvnletError
from ovnlet.core.settings import Settings

_RETRY_INTERVAL = 2.0  # seconds


def run_uninstall(settings: Settings, *, cut_off: bool, wait: bool, back: bool) -> None:
    """Remove everything of ovnlet and print each step.

    With ``back`` the pods stay, for kube-ovn-cni. With ``wait`` it first waits until the agent and
    the pods are gone. Raises ClickException if they are there, or if something could not be
    removed.
    """
    try:
        with progress("removing") as update:
            asyncio.run(_uninstall(_work(settings, cut_off, back), wait=wait, update=update))
    except (OvnletError, OSError) as error:
        raise click.ClickException(str(error)) from error
    left = "the node is left to kube-ovn-cni" if back else "nothing of ovnlet is left on this node"
    click.echo(left)


def _work(settings: Settings, cut_off: bool, back: bool) -> Callable[[], Awaitable[None]]:
    if back:
        return lambda: hand_back(settings, say=click.echo)
    return lambda: remove(settings, cut_off=cut_off, say=click.echo)


async def _uninstall(work: Callable[[], Awaitable[None]], *, wait: bool, update: Update) -> None:
    """Do the work; with ``wait`` repeat it while it raises InUse."""
    printed = ""
    while True:
        try:
            update("removing")
            return await work()
        except InUse as reason:
            if not wait:
                raise
            if str(reason) != printed:
                click.echo(f"waiting: {reason}")
            printed = str(reason)
            update("waiting")
            await asyncio.sleep(_RETRY_INTERVAL)
