"""`ovnlet completion`: the completion script for a shell."""

import click
from click.shell_completion import get_completion_class

from ovnlet.cli.options import Command


@click.command(
    cls=Command,
    examples={
        "ovnlet completion bash": "the script for bash",
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell: `source <(ovnlet completion bash)`."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has these three
    click.echo(found(context.find_root().command, {}, "ovnlet", "_OVNLET_COMPLETE").source())
