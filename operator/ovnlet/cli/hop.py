"""`ovnlet hop`: what this node does with a packet of a pod, as JSON."""

import asyncio
import json

import click

from ovnlet.cli.progress import progress
from ovnlet.core.errors import OvnletError
from ovnlet.core.settings import Settings
from ovnlet.doctor.hop import Packet, look


def print_hop(settings: Settings, pod: str, to: str | None, protocol: str, port: int) -> None:
    """Print what the node does. Raise ClickException if the pod or the agent is not there."""
    packet = Packet(protocol, to, port) if to else None
    try:
        with progress("looking"):
            found = asyncio.run(look(settings, pod, packet, port))
    except OvnletError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(found, indent=2, sort_keys=True))
