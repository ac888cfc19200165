"""A group of commands whose modules are imported only when they are used."""

from collections.abc import Mapping
from importlib import import_module

import click


class Lazy(click.Group):
    """A group that imports some commands only when they are used: their libraries are slow.

    ``modules`` has the module of each; the command there has the same name.
    """

    modules: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, without importing any."""
        return sorted([*super().list_commands(ctx), *self.modules])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported if necessary; None if there is none of that name."""
        if cmd_name not in self.modules:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(self.modules[cmd_name]), cmd_name)
        return command
