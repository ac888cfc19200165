"""`ovnlet bundle`: the archive, written where it was asked for, and what is in it, told."""

import asyncio
import sys
from pathlib import Path

import click

from ovnlet.cli.bundle import collect
from ovnlet.cli.progress import progress
from ovnlet.core.settings import Settings

_STDOUT = Path("-")


def bundled(settings: Settings, file: Path) -> None:
    """What was put in is told on standard output, where the archive itself does not go there."""
    try:
        with progress("collecting") as say:
            content, names = asyncio.run(collect(settings, say))
        if file == _STDOUT:
            sys.stdout.buffer.write(content)
        else:
            file.touch(mode=0o600)
            file.write_bytes(content)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {', '.join(names)}", err=file == _STDOUT)
