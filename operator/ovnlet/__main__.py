"""The command line. Heavy imports wait for the command that needs them."""

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
    """The settings file fills in whatever neither a flag nor the environment says."""
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
    """Every setting as a flag ``--name`` and a variable ``OVNLET_NAME``; the file is read first."""

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
            help="YAML file of settings; a flag or a variable OVNLET_<NAME> goes before it",
        )(command)

    return decorate


def read(given: dict[str, Any], model: type[_M]) -> _M:
    """Validate; every wrong setting is named at once, with what is allowed."""
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
    """Commands whose libraries take a while to import are imported when they are asked for."""

    elsewhere: Mapping[str, str] = {
        "pods": "attachments",
        "show": "attachments",
        "plan": "attachments",
        "apply": "attachments",
        "events": "events",
        "completion": "completion",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.elsewhere:
            return super().get_command(ctx, cmd_name)
        room = import_module(f"ovnlet.cli.{self.elsewhere[cmd_name]}")
        command: click.Command = getattr(room, cmd_name)
        return command


@click.group(
    cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(package_name="ovnlet")
def main() -> None:
    """A node's networking agent for Kubernetes on OVS/OVN, and the controller of a cluster that stands alone."""


@main.command()
@with_settings(Settings)
def agent(**given: Any) -> None:
    """Serve the pods of this node until stopped."""
    settings = read(given, Settings)
    from ovnlet.agent.wiring import serve  # noqa: PLC0415 - a wrong setting is told before half a second of imports

    sys.exit(serve(settings))


@main.command()
@with_settings(Settings)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="for whom"
)
def doctor(output: str, **given: Any) -> None:
    """Look at this node and name each fault with its fix. Exit code 3 if there is one.

    It needs no agent, and asks it where there is one. The settings are the agent's: in its container they are set.
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
    """Write one archive for a bug report, `-` being standard output; credentials are left out.

    Versions, settings, the doctor's findings, attachments, plans, the log's tail, records, our rows of OVSDB.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.bundle_command import bundled  # noqa: PLC0415

    bundled(settings, file)


@main.command()
@with_settings(Settings)
@click.option(
    "--cut-off", is_flag=True, help="also where pods are running: they lose their network"
)
@click.option(
    "--wait", is_flag=True, help="where an agent or pods are there, wait until they have gone"
)
def uninstall(cut_off: bool, wait: bool, **given: Any) -> None:
    """Remove everything of ours from this node, once its agent and pods have gone. Nothing of others is touched.

    While they are there it refuses, and removes nothing. It may be repeated.
    """
    settings = read({**given, "node_name": given["node_name"] or platform.node().lower()}, Settings)
    from ovnlet.cli.uninstall import uninstalled  # noqa: PLC0415

    uninstalled(settings, cut_off=cut_off, wait=wait)


@main.command()
@with_settings(ControllerSettings)
def controller(**given: Any) -> None:
    """Turn Subnets and pods into OVN's northbound database until stopped; of several replicas one leads."""
    settings = read(given, ControllerSettings)
    from ovnlet.controller.replica import serve  # noqa: PLC0415

    sys.exit(serve(settings))


if __name__ == "__main__":
    main(prog_name="ovnlet")
