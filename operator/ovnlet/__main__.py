"""The command line: settings, flags and exit codes. What a command does is modules.

A module that is slow to import is imported by the command that needs it.
"""

import platform
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml
from pydantic import BaseModel, ValidationError

from ovnlet.core.settings import ControllerSettings, Settings

_M = TypeVar("_M", bound=BaseModel)


def _file(model: type[BaseModel], path: Path | None) -> Path | None:
    """Read the settings file as defaults for what neither a flag nor the environment sets.

    Raises BadParameter if it is not a YAML mapping of known settings.
    """
    if path is None:
        return None
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise click.BadParameter(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise click.BadParameter(f"{path} is not a mapping of settings")
    known = {str(name).replace("-", "_"): value for name, value in content.items()}
    if unknown := known.keys() - model.model_fields.keys():
        raise click.BadParameter(f"{path} has unknown settings: {', '.join(sorted(unknown))}")
    click.get_current_context().default_map = known
    return path


def with_settings(model: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag ``--name`` and a variable ``OVNLET_NAME`` for every setting.

    ``--config`` is processed before them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for name, field in reversed(model.model_fields.items()):
            flag = f"--{name.replace('_', '-')}"
            default = (
                ""
                if field.is_required() or field.default is None
                else f" [default: {field.default}]"
            )
            command = click.option(
                flag, name, envvar=f"OVNLET_{name.upper()}", help=f"{field.description}{default}"
            )(command)
        return click.option(
            "--config",
            type=click.Path(path_type=Path),
            envvar="OVNLET_CONFIG",
            callback=lambda _context, _parameter, path: _file(model, path),
            is_eager=True,
            expose_value=False,
            help="Read settings from this YAML file; flags and variables OVNLET_<NAME> override it",
        )(command)

    return decorate


def read(given: dict[str, Any], model: type[_M]) -> _M:
    """Return the validated settings.

    Raises UsageError that names every wrong setting and what is allowed.
    """
    try:
        return model.model_validate(
            {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        wrong = [
            f"  {'.'.join(map(str, e['loc']))}: {e['msg']}"
            + ("" if e["type"] == "missing" else f" (it is {e['input']!r})")
            for e in error.errors()
        ]
        raise click.UsageError("wrong settings, not started:\n" + "\n".join(wrong)) from error


class _Lazy(click.Group):
    """A group that imports some commands only when they are used: their libraries are slow."""

    modules: Mapping[str, str] = {
        "pods": "attachments",
        "show": "attachments",
        "plan": "attachments",
        "apply": "attachments",
        "events": "events",
        "completion": "completion",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, without importing any."""
        return sorted([*super().list_commands(ctx), *self.modules])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported if necessary; None if there is none of that name."""
        if cmd_name not in self.modules:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"ovnlet.cli.{self.modules[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(
    cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(package_name="ovnlet")
def main() -> None:
    """Run the networking agent of a Kubernetes node with OVS/OVN, or the stand-alone controller."""


@main.command()
@with_settings(Settings)
def agent(**given: Any) -> None:
    """Serve the pods of this node until stopped."""
    settings = read(given, Settings)
    # After the settings: a wrong one is reported before half a second of imports.
    from ovnlet.agent.wiring import serve  # noqa: PLC0415

    sys.exit(serve(settings))


@main.command()
@with_settings(Settings)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="Print a table for people, or JSON or YAML for programs",
)
def doctor(output: str, **given: Any) -> None:
    """Examine this node and print each fault with its fix. Exit with code 3 if there is a fault.

    Works without an agent; a running agent is asked too. The settings are the agent's: in its
    container they are set.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.doctor import report  # noqa: PLC0415

    sys.exit(report(settings, output))


@main.command()
@with_settings(Settings)
@click.argument(
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default="ovnlet-bundle.tar.gz",
)
def bundle(file: Path, **given: Any) -> None:
    """Write an archive for a bug report, without credentials. `-` is standard output.

    It has versions, settings, the doctor's findings, attachments, plans, the end of the log,
    records and our rows of OVSDB.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.bundle import write_bundle  # noqa: PLC0415

    write_bundle(settings, file)


@main.command()
@with_settings(Settings)
@click.option("--cut-off", is_flag=True, help="Remove even while pods run: they lose their network")
@click.option(
    "--wait", is_flag=True, help="Wait until the agent and all pods are gone, instead of refusing"
)
@click.option(
    "--hand-back",
    is_flag=True,
    help="Leave the pods and the node's interface to kube-ovn-cni, and remove the rest",
)
def uninstall(cut_off: bool, wait: bool, hand_back: bool, **given: Any) -> None:
    """Remove everything of ovnlet from this node, and nothing else.

    Refuses, and removes nothing, while the agent or pods are there. It is safe to repeat.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.uninstall import run_uninstall  # noqa: PLC0415

    run_uninstall(settings, cut_off=cut_off, wait=wait, back=hand_back)


@main.command()
@with_settings(ControllerSettings)
def controller(**given: Any) -> None:
    """Write Subnets and pods to OVN's northbound database until stopped. One replica leads."""
    settings = read(given, ControllerSettings)
    from ovnlet.controller.replica import serve  # noqa: PLC0415

    sys.exit(serve(settings))


if __name__ == "__main__":
    main(prog_name="ovnlet")
