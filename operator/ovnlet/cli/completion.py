"""`ovnlet completion`: the script that a shell reads."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell: `source <(ovnlet completion bash)`."""
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has these three
    click.echo(made(context.find_root().command, {}, "ovnlet", "_OVNLET_COMPLETE").source())
